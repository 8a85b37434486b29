"""The options that name a judge and what it may spend: the same for every command that asks one."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ggt_hub.vlm import Judge

PANEL = "Judge"


def takes_judge(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `make_judge` in place of its argument `judge`, which gets what they make.

    The command has an argument `output`, the folder that the budget belongs to.
    """
    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "judge"]
    options = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(make_judge).parameters.items()
        if name != "output"
    ]

    @wraps(command)
    def with_judge(**arguments: Any) -> None:
        chosen = {option.name: arguments.pop(option.name) for option in options}
        command(judge=make_judge(arguments["output"], **chosen), **arguments)

    with_judge.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    with_judge.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    return with_judge


def make_judge(
    output: Path,
    judge: Annotated[
        str | None,
        typer.Option(
            help="The model that rates: a folder or an id on the Hub, ID@REVISION, run here; with "
            "--judge-url the model's name there.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server; its key is read from OPENAI_API_KEY.", rich_help_panel=PANEL
        ),
    ] = None,
    max_calls: Annotated[
        int | None,
        typer.Option(
            min=0, help="Send at most so many requests, repeated ones included.", rich_help_panel=PANEL
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0, help="Spend at most so much; needs --price.", rich_help_panel=PANEL),
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="Of a million tokens: IN,OUT.", rich_help_panel=PANEL)
    ] = None,
    judge_workers: Annotated[
        int, typer.Option(min=1, help="Questions asked at the same time.", rich_help_panel=PANEL)
    ] = 8,
    judge_tokens: Annotated[int, typer.Option(min=1, help="The longest reply.", rich_help_panel=PANEL)] = 32,
    ask_again: Annotated[
        bool,
        typer.Option("--ask-again", help="Also what was refused or possibly billed.", rich_help_panel=PANEL),
    ] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(help="File of all replies; GGT_HUB_LEDGER or one a user.", rich_help_panel=PANEL),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="realir-code, realir-paper or strict.", rich_help_panel=PANEL)
    ] = "realir-code",
) -> "Judge | None":
    """The judge that the options name; None if they name none.

    Raises:
        JudgeError: if they contradict each other, or the judge's library or ledger cannot be used.
    """
    from ggt_hub.errors import JudgeError
    from ggt_hub.vlm import PROTOCOLS, Budget, Judge, Ledger, LocalChat, ServerChat, ledger_path, purse_of

    limits = _limits(judge_url, max_calls, max_cost, price)
    if judge is None:
        return None
    if protocol not in PROTOCOLS:
        raise JudgeError(f"unknown protocol {protocol!r}: there are {', '.join(PROTOCOLS)}")
    kept = Ledger(ledger or ledger_path())
    chat: ServerChat | LocalChat
    if judge_url:
        purse = purse_of(output, kept)
        budget = Budget(**limits, ledger=kept, purse=purse, folder=output)  # type: ignore[arg-type]
        chat = ServerChat(judge, judge_url, budget=budget, max_tokens=judge_tokens)
    else:
        name, _, revision = judge.partition("@")
        chat = LocalChat(name, revision=revision or None, max_new_tokens=judge_tokens)
    return Judge(chat, PROTOCOLS[protocol], kept, workers=judge_workers, ask_again=ask_again)


def _limits(
    url: str | None, calls: int | None, cost: float | None, price: str | None
) -> dict[str, float | int | None]:
    """What the options say of a budget, checked."""
    from ggt_hub.errors import JudgeError

    if url is None and not (calls is None and cost is None):
        raise JudgeError("--max-calls and --max-cost limit what a server bills: name it by --judge-url")
    if cost is not None and price is None:
        raise JudgeError("--max-cost needs the price of a million tokens: --price IN,OUT")
    try:
        price_in, price_out = (float(part) for part in (price or "0,0").split(","))
    except ValueError:
        raise JudgeError(f"--price {price}: write two numbers, IN,OUT") from None
    if not (0 <= price_in < float("inf") and 0 <= price_out < float("inf")):
        raise JudgeError(f"--price {price}: prices are 0 or more")
    if cost is not None and price_in == price_out == 0:
        raise JudgeError("--max-cost limits nothing where the --price is 0,0: give the server's prices")
    return {"max_calls": calls, "max_cost": cost, "price_in": price_in, "price_out": price_out}
