"""Generators on the same photographs, with the same prompts, by the same checks.

Each generator, with the fixed instructions and with adaptive ones, is a run of one configuration; what they share
is asked once, since the ledger knows it then.

    OUT/runs/GENERATOR-PROMPTS/   a run, see `run`
    OUT/comparison.json           what came of each
    OUT/report.html               the same, to be looked at
    OUT/votes.jsonl               what people prefer, see `evaluation/votes`
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ggt_hub.curation.askers import Estimate, estimate
from ggt_hub.curation.configuration import Configuration, check_chain
from ggt_hub.curation.run import RUNS, run
from ggt_hub.curation.stage import Packing, Stage
from ggt_hub.curation.stages.compose import Compose, ComposeAdaptive
from ggt_hub.curation.stages.edit import Edit
from ggt_hub.curation.stages.register import Register
from ggt_hub.curation.stages.reviewed import Reviewed
from ggt_hub.errors import CurationError, NothingLeftError
from ggt_hub.vlm import Asker

MOST = 9
"""Generators in one comparison."""

_PROMPTS: dict[str, type[Stage]] = {"fixed": Compose, "adaptive": ComposeAdaptive}


@dataclass(frozen=True)
class Entrant:
    """A generator with one kind of prompts.

    Attributes:
        generator: its name in the configuration.
        prompts: fixed or adaptive.
        configuration: of its run.
        folder: of its run.
    """

    generator: str
    prompts: str
    configuration: Configuration
    folder: Path

    @property
    def label(self) -> str:
        """What it is called."""
        return f"{self.generator}, {self.prompts}"

    @property
    def model(self) -> str:
        """Who draws."""
        return self.configuration.generators[self.generator].model


def entrants(configuration: Configuration, output: Path) -> list[Entrant]:
    """Who is compared: each generator, with both kinds of prompts.

    Stages that pack, or wait for people, are left out.

    Raises:
        CurationError: if stages are missing, there are too many generators, or a stage lacks what it needs for one
            kind of prompts.
    """
    kinds = {type(stage) for stage in configuration.stages}
    if not ({Edit, Register} <= kinds and {Compose, ComposeAdaptive} & kinds):
        raise CurationError("a comparison needs the stages compose (or compose-adaptive), edit and register")
    if len(configuration.generators) > MOST:
        raise CurationError(
            f"a comparison is of {MOST} generators at most, not {len(configuration.generators)}"
        )
    found = []
    for name, generator in configuration.generators.items():
        for prompts, kind in _PROMPTS.items():
            own = replace(configuration, stages=_stages(configuration, (kind,)), generators={name: generator})
            check_chain(f"{name} with {prompts} prompts", own)
            found.append(Entrant(name, prompts, own, output / RUNS / f"{name}-{prompts}"))
    return found


def asking(configuration: Configuration) -> Configuration:
    """A configuration with all stages that ask somebody in a comparison, for `open_askers`."""
    return replace(configuration, stages=_stages(configuration, (*_PROMPTS.values(),)))


def run_entrants(
    found: Sequence[Entrant],
    source: str,
    askers: Mapping[str, Asker],
    *,
    workers: int = 1,
    engine: str = "local",
) -> int:
    """Do what is not done yet of each run, see `run`.

    Returns:
        How many rows wait for a later call.

    Raises:
        CurationError, DatasetError, JudgeError, BusyError: as `run`; call again to go on.
    """
    waiting = 0
    for entrant in found:
        with suppress(NothingLeftError):  # all that it drew was refused: that is a result, too
            counts = run(
                entrant.configuration, source, entrant.folder, askers, workers=workers, engine=engine
            )
            waiting += sum(sum(count.later.values()) for count in counts)
    return waiting


def estimate_entrants(found: Sequence[Entrant], source: str, *, batch: bool = False) -> list[Estimate]:
    """What they would ask if no row were dropped before; what all share is there once.

    Raises:
        DatasetError: if there is nothing to begin with.
    """
    shared: dict[tuple[str, str], Estimate] = {}
    own = []
    for entrant in found:
        names = [stage.name for stage in entrant.configuration.stages]
        for one in estimate(entrant.configuration, source, batch=batch):
            if names.index(one.stage) < names.index(Edit.name):
                shared[one.stage, one.model] = one
            else:
                own.append(replace(one, stage=f"{one.stage} ({entrant.label})"))
    return [*shared.values(), *own]


def _stages(configuration: Configuration, composing: Sequence[type[Stage]]) -> tuple[Stage, ...]:
    """The stages of a comparison, with these in place of what composes prompts."""
    found: list[Stage] = []
    for stage in configuration.stages:
        if isinstance(stage, (Compose, ComposeAdaptive)):
            found += [kind() for kind in composing]
        elif not isinstance(stage, (Packing, Reviewed)):
            found.append(stage)
    return tuple(found)
