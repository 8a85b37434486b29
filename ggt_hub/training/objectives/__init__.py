"""What is trained, on what, and towards what: one file for each kind of restorer."""

from importlib import import_module

from ggt_hub.errors import TrainingError, did_you_mean
from ggt_hub.training.objectives.base import Loss, Objective

__all__ = ["OBJECTIVES", "Loss", "Objective", "load_objective"]

OBJECTIVES: dict[str, str] = {
    "codebooks": "ggt_hub.training.objectives.codebooks:CodebooksObjective",
    "codes": "ggt_hub.training.objectives.codes:CodesObjective",
    "compact": "ggt_hub.training.objectives.compact:CompactObjective",
    "dreamclear": "ggt_hub.training.objectives.dreamclear:DreamClearObjective",
    "dial": "ggt_hub.training.objectives.dial:DialObjective",
    "dual_prompt": "ggt_hub.training.objectives.dual_prompt:DualPromptObjective",
    "flow": "ggt_hub.training.objectives.flow:FlowObjective",
    "peer": "ggt_hub.training.objectives.peer:PeerObjective",
    "told": "ggt_hub.training.objectives.told:ToldObjective",
}
"""Name in a recipe -> where its class is."""


def load_objective(name: str) -> type[Objective]:
    """The class of that name; its module is imported now, not before.

    Raises:
        TrainingError: if there is none.
    """
    if name not in OBJECTIVES:
        raise TrainingError(
            f"no objective {name!r}: there are {', '.join(OBJECTIVES)}{did_you_mean(name, OBJECTIVES)}"
        )
    module, _, cls = OBJECTIVES[name].partition(":")
    return getattr(import_module(module), cls)
