"""Who is asked in a run, what that may cost, and what it would."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ggt_hub.curation.configuration import GENERATOR, Configuration
from ggt_hub.curation.generators import Named, Price, check_terms, open_generator
from ggt_hub.curation.generators.batches import BatchAsker, Batching, Fetched, fetch
from ggt_hub.curation.generators.configured import BATCHING
from ggt_hub.curation.run import RUN, RUNS
from ggt_hub.curation.stage import Beginning, Deciding, Stage
from ggt_hub.curation.stages.crop import Crop
from ggt_hub.errors import CurationError, JudgeError
from ggt_hub.settings import read_yaml
from ggt_hub.vlm import Asker, Budget, Ledger, LocalChat, ServerChat, purse_of
from ggt_hub.vlm.structured import response_format

_TOKENS_ASKED = 1500  # of a question with a picture, about


@dataclass(frozen=True)
class Estimate:
    """What a stage would ask, at most: nothing that is stored already is counted out."""

    stage: str
    model: str
    questions: int
    cost: float


def open_askers(
    configuration: Configuration,
    output: Path,
    ledger: Ledger,
    *,
    max_calls: int | None = None,
    max_cost: float | None = None,
    ask_again: bool = False,
    batch: bool = False,
) -> dict[str, Asker]:
    """Who each stage asks, by its name; nobody is asked yet.

    Args:
        configuration: names the models.
        output: folder of the run, which has one budget for all, wherever it is moved.
        ledger: where replies are kept.
        max_calls: requests that may be made to servers.
        max_cost: what they may cost.
        ask_again: ask also what was refused or possibly billed before.
        batch: ask generators in batches.

    Raises:
        CurationError: if what is to be limited has no price.
        JudgeError: if an address is none, or the library that asks is not installed.
    """

    def budget(asked: float = 0.0, answered: float = 0.0) -> Budget:
        return Budget(max_calls, max_cost, asked, answered, ledger=ledger, purse=purse, folder=output)

    purse = purse_of(output, ledger)
    askers = _open_generators(configuration, budget, ledger, ask_again=ask_again, batch=batch)
    for stage in configuration.stages:
        if stage.asks is None:
            continue
        model = configuration.models[stage.asks]
        if max_cost is not None and model.url is not None and not any(model.price):
            raise CurationError(
                f"--max-cost limits nothing where {stage.asks} has no price: give "
                f"--set models.{stage.asks}.price=[IN,OUT], of a million tokens"
            )
        chat = _chat(configuration, stage, budget(*model.price))
        askers[stage.name] = Asker(chat, ledger, workers=model.workers, ask_again=ask_again)
    return askers


def _open_generators(
    configuration: Configuration,
    budget: Callable[[], Budget],
    ledger: Ledger,
    *,
    ask_again: bool,
    batch: bool,
) -> dict[str, Asker]:
    """The generators, by `GENERATOR` and their names; nobody is asked yet, and arguments are as of `open_askers`.

    Raises:
        CurationError: if terms are not accepted, there is no key, nothing is known of a model, or what is to be
            limited has no price.
        JudgeError: if an address is none, or a library is not installed.
    """
    askers: dict[str, Asker] = {}
    for name, named in configuration.generators.items():
        if named.is_sold:
            check_terms(ledger, named.provider)
        own = budget()
        if own.max_cost is not None and named.provider != "local" and not named.priced().expected:
            raise CurationError(
                f"--max-cost limits nothing where {name} has no price: give "
                f"--set generators.{name}.per_picture=PRICE"
            )
        service = open_generator(named, own)
        told: dict[str, Any] = {"workers": named.workers, "ask_again": ask_again}
        if not batch:
            askers[GENERATOR + name] = Asker(service, ledger, **told)
        elif named.provider in BATCHING:
            askers[GENERATOR + name] = BatchAsker(name, service, ledger, **told)
        else:
            raise CurationError(
                f"{name} cannot be asked in batches, as {' and '.join(BATCHING)} can: leave out --batch"
            )
    return askers


def fetch_batches(output: Path, ledger: Ledger) -> dict[str, Fetched]:
    """Settle what has come back of the batches of a run, or of a comparison, by the names of its generators.

    Raises:
        CurationError: if the folder holds neither, or there is no key.
        JudgeError: if a server does not say of some, after all were asked for; run again.
    """
    told = _generators_of(output)
    found: dict[str, Fetched] = {}
    problems: list[JudgeError] = []
    batches = ledger.open_batches(purse_of(output, ledger))
    for batch in batches:
        if batch.generator not in told:
            problems.append(
                JudgeError(f"{output} has no generator {batch.generator}, of which it has a batch out")
            )
            continue
        named = Named(**told[batch.generator], url=batch.endpoint)
        service = open_generator(named, Budget(ledger=ledger), Price(**batch.told))
        try:
            one = fetch(ledger, batch, cast("Batching", service))
        except JudgeError as error:
            problems.append(error)
            continue
        before = found.get(batch.generator, Fetched())
        found[batch.generator] = Fetched(*(a + b for a, b in zip(before, one, strict=True)))
    if problems:
        raise JudgeError(f"{len(problems)} of {len(batches)} batches could not be fetched: {problems[0]}")
    return found


def _generators_of(output: Path) -> dict[str, Any]:
    """What the configurations of a run, or of all runs of a comparison, say of their generators."""
    paths = [path for path in (output / RUN, *sorted((output / RUNS).glob(f"*/{RUN}"))) if path.is_file()]
    if not paths:
        raise CurationError(f"{output} holds no run: give the folder that `--output` was given")
    told = [read_yaml(path, CurationError).get("generators") or {} for path in paths]
    return {name: one for of in told for name, one in of.items()}


def check_askers(askers: Mapping[str, Asker]) -> None:
    """Ask all who are asked in a run, for nothing, whether they can be: before anything is paid.

    Raises:
        JudgeError: if one says no: its key is rejected, it knows no such model, it takes no instruction.
    """
    services = {(one.endpoint, one.model): one for one in (asker.service for asker in askers.values())}
    # What runs here is loaded by its check, so it is the last.
    for service in sorted(services.values(), key=lambda one: one.endpoint is None):
        service.check()


def estimate(configuration: Configuration, source: str, *, batch: bool = False) -> list[Estimate]:
    """What a run would ask if no row were dropped before; in batches, where generators take them, if so told.

    Raises:
        DatasetError: if there is nothing to begin with.
    """
    rows, found = 0, []
    for stage in configuration.stages:
        if isinstance(stage, Beginning):
            rows = len(stage.seeds(source))
        if isinstance(stage, Crop):
            rows *= stage.count
        if isinstance(stage, Deciding) and stage.edits:
            questions = stage.questions(rows)
            for named in configuration.generators.values():
                price = named.priced()
                share = price.batch if batch and named.provider in BATCHING else 1.0
                cost = share * questions * price.expected
                found.append(Estimate(stage.name, named.model, questions, cost))
        if not isinstance(stage, Deciding) or stage.asks is None:
            continue
        model, questions = configuration.models[stage.asks], stage.questions(rows)
        each = (_TOKENS_ASKED * model.price[0] + stage.tokens * model.price[1]) / 1e6
        found.append(Estimate(stage.name, model.model, questions, questions * each))
    return found


def bill(askers: Mapping[str, Asker]) -> list[str]:
    """What was paid from the purse of a run, in words, a line for each model."""
    budgets = [asker.service.budget for asker in askers.values() if asker.service.budget is not None]
    if not budgets:
        return []
    lines: dict[str, list[str]] = {}
    for one in budgets[0].ledger.bill(budgets[0].purse):
        # Nothing is in flight any more: it was when a run was killed.
        state = "possibly billed" if one.state == "in flight" else one.state
        costs = [f"{one.cost:g}"] if one.cost or not one.unknown else []
        if one.unknown:
            costs.append(
                "of unknown cost" if one.unknown == one.requests else f"{one.unknown} of unknown cost"
            )
        lines.setdefault(one.model, []).append(f"{one.requests} {state}, {' and '.join(costs)}")
    return [f"{model}: {'; '.join(parts)}" for model, parts in lines.items()]


def _chat(configuration: Configuration, stage: Stage, budget: Budget) -> ServerChat | LocalChat:
    told = configuration.models[stage.asks or ""]
    if told.url is None:
        name, _, revision = told.model.partition("@")
        return LocalChat(
            name,
            revision=revision or None,
            max_new_tokens=stage.tokens,
            temperature=stage.temperature,
        )
    return ServerChat(
        told.model,
        told.url,
        budget=budget,
        max_tokens=stage.tokens,
        temperature=stage.temperature,
        replies=None if stage.replies is None else response_format(stage.replies),
        per_minute=told.per_minute,
    )
