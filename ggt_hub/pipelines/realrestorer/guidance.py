"""Classifier-free guidance with RealRestorer's damping of large differences."""

from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float, power: float | None) -> Tensor:
    """Unconditional + scale * difference, the difference damped per token unless `power` is None.

    Args:
        conditional: velocity with the prompt, (..., tokens, features).
        unconditional: velocity with the negative prompt.
        scale: guidance scale.
        power: a token whose difference is n > 1 long is divided by n to this power.
    """
    difference = conditional - unconditional
    if power is not None:
        difference = difference / damping(difference.norm(dim=-1, keepdim=True), power)
    return unconditional + scale * difference


def damping(norm: Tensor, power: float) -> Tensor:
    """n^power where the norm n exceeds 1, else 1."""
    return norm.clamp(min=1) ** power
