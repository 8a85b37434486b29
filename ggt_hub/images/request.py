"""What a reader is told beside the bytes of a file."""

from dataclasses import dataclass

from ggt_hub.errors import ImageError


@dataclass(frozen=True)
class Request:
    """How to read one file.

    Args:
        name: What messages call it.
        max_pixels: Larger pictures are refused before any pixel is decoded.
        page: Which of several pages or frames, from 1; None for the first.
        salvage: Whether to give what is there of a picture of which a part is missing.
        icc: The profile that the file holds.
        orientation: How the stored pixels are to be turned, by EXIF's numbers 1 to 8.
    """

    name: str
    max_pixels: int
    page: int | None = None
    salvage: bool = False
    icc: bytes | None = None
    orientation: int = 1

    def index_among(self, count: int, kind: str) -> int:
        """The index, from 0, of the page that is asked for.

        Raises:
            ImageError: If the file holds no such page.
        """
        if self.page is not None and not 1 <= self.page <= count:
            holds = f"{count} {kind}s" if count != 1 else f"one {kind}"
            raise ImageError(f"{self.name!r}: there is no page {self.page}: it holds {holds}.")
        return (self.page or 1) - 1
