"""The one record of all data: a low-quality picture, its ground truth if there is one, and what is known.

| column | type | meaning |
| --- | --- | --- |
| `id` | string | unique within a dataset |
| `lq` | Image or null | the low-quality picture; null for a clean one that is not damaged yet |
| `gt` | Image or null | the ground truth; its size is that of `lq` times an integer |
| `task` | string or null | one of `ggt_hub.tasks.TASKS` |
| `source` | string | the dataset that the pair comes from |
| `prompt` | string or null | an instruction that goes with the pair |
| `lq_sha256`, `gt_sha256` | string or null | SHA-256 of the picture files, hexadecimal |
| `meta` | string | anything else, as a JSON object |

Further columns are carried along untouched. One of them is `quality` (float64 or null), how good the ground truth
is, 0 to 1, which `ggt-hub data score-quality` writes, with what each expert said in `meta`. Rows that point into
archives (`POINTER_FEATURES`) also say where each picture's bytes lie, so that they can be fetched without reading
the archive's directory again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Features, Image, Value

PICTURES = ("lq", "gt")

PAIR_FEATURES = Features(
    {
        "id": Value("string"),
        "lq": Image(),
        "gt": Image(),
        "task": Value("string"),
        "source": Value("string"),
        "prompt": Value("string"),
        "lq_sha256": Value("string"),
        "gt_sha256": Value("string"),
        "meta": Value("string"),
    }
)

# For each picture: the archive (null: `path` is a file of its own), the offset of the member's local header
# in it, the size of the data as stored and as unpacked, the compression method (0 or 8) and the CRC-32.
POINTER_COLUMNS = {
    "archive": Value("string"),
    "offset": Value("int64"),
    "stored_size": Value("int64"),
    "size": Value("int64"),
    "method": Value("int32"),
    "crc32": Value("int64"),
}

POINTER_FEATURES = Features(
    {
        **PAIR_FEATURES,
        **{f"{side}_{name}": value for side in PICTURES for name, value in POINTER_COLUMNS.items()},
    }
)


def pair_row(
    pair_id: str,
    lq: Mapping[str, Any] | None,
    gt: Mapping[str, Any] | None,
    *,
    source: str,
    task: str | None = None,
    prompt: str | None = None,
    meta: Mapping[str, Any] | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Make one record; a picture is `{"bytes": ..., "path": ...}`, either of which may be None."""
    row = {"id": pair_id, "lq": lq, "gt": gt, "task": task, "source": source, "prompt": prompt}
    row |= {"lq_sha256": None, "gt_sha256": None, "meta": json.dumps(meta or {}, ensure_ascii=False)}
    return row | further


def scale_of(lq: Sequence[int], gt: Sequence[int]) -> int | None:
    """By which whole number the sides of `gt` are larger than those of `lq`; None if there is none.

    Args:
        lq: both sides in pixels; what follows is not looked at.
        gt: likewise, in the same order.
    """
    scale = gt[0] // lq[0]
    return scale if scale and tuple(gt[:2]) == (lq[0] * scale, lq[1] * scale) else None
