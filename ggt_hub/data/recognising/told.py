"""What a person tells of a data set where names cannot decide: which pictures count, and which side they are."""

from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ggt_hub.errors import DatasetError

Side = Literal["lq", "gt"]


@dataclass(frozen=True)
class Told:
    """Patterns of paths, as in a shell: `*`, `?` and `[...]`.

    A pattern without a slash is compared with each folder of a path and with the name of the file; one with a slash
    with the path, or the beginning of it, from the top of the data set on (archives count as folders).

    Attributes:
        lq: the low-quality pictures.
        gt: the ground truths.
        include: only these pictures count.
        exclude: these do not.
        template: how the name of a low-quality picture follows from that of its ground truth, both without ending,
            such as `{}x4`.
    """

    lq: str | None = None
    gt: str | None = None
    include: str | None = None
    exclude: str | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        if self.template is not None and self.template.count("{}") != 1:
            raise DatasetError(f"template {self.template!r} must hold {{}} once, such as {{}}x4")

    def __bool__(self) -> bool:
        return any(value is not None for value in astuple(self))

    def counts(self, path: str) -> bool:
        """Whether a picture is to be looked at."""
        is_in = self.include is None or matches(path, self.include)
        return is_in and not (self.exclude is not None and matches(path, self.exclude))

    def side(self, path: str) -> Side | None:
        """The side that was told; None if none was.

        Raises:
            DatasetError: if both patterns match.
        """
        is_lq = self.lq is not None and matches(path, self.lq)
        is_gt = self.gt is not None and matches(path, self.gt)
        if is_lq and is_gt:
            raise DatasetError(
                f"{path} is both lq ({self.lq}) and gt ({self.gt}): make the patterns narrower"
            )
        return "lq" if is_lq else "gt" if is_gt else None


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches; see `Told`."""
    parts = path.split("/")
    if "/" not in pattern.rstrip("/"):
        return any(fnmatchcase(part, pattern.rstrip("/")) for part in parts)
    wanted = pattern.strip("/")
    return any(fnmatchcase("/".join(parts[:count]), wanted) for count in range(1, len(parts) + 1))
