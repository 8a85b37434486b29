"""What is left becomes a data set of pairs; what was refused as a candidate stays apart, as negatives."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from datasets import Features, Value

from ggt_hub.curation.stage import Packing, Row
from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, pair_row
from ggt_hub.images.shown import png, shown_rgb

_ABOUT = """\
Photographs and what generators made of them, in Parquet: `lq` is the photograph, `gt` a candidate that passed all
checks below. Ground truth that was generated, not captured. `negatives` holds candidates that were refused, with
their reasons in `reason` and `meta`; it is no ground truth, and nothing loads it that does not ask for it."""

_LIMITS = """\
Generated ground truth may show detail that was never there: checks refuse what they can see. Thresholds were chosen
on few photographs; `ggt-hub curate calibrate` tries them on labels. No person has looked at these pairs unless it
is said below. Pictures of some generators carry an invisible mark (`meta`, `synthid`), of which a restorer that is
trained on them may learn something. The licence of the photographs holds for both pictures, and the terms of who
sells the generator hold for `gt`."""

_JSON = ("resemblance", "screening", "registration", "measures", "judgement", "choice", "review")


@dataclass(frozen=True)
class PackPairs(Packing):
    """Rows of the pair schema with provenance, `has_faces` where it was looked for, and `reason` of negatives.

    Attributes:
        rows: in one file.
    """

    rows: Annotated[int, Ge(1)] = 100

    name: ClassVar[str] = "pack-pairs"
    version: ClassVar[int] = 4
    needs: ClassVar[tuple[str, ...]] = (
        *("lq", "gt", "category", "source", "sha256"),
        *("generator", "drawn_by", "question", "mark", "prompt", "template"),
    )
    takes: ClassVar[tuple[str, ...]] = ("candidate", "box", "scale", "diagnosis", *_JSON)
    refusing: ClassVar[tuple[str, ...]] = ("register", "gate", "judge", "choose-patches", "reviewed")
    features: ClassVar[Features] = Features(
        {**PAIR_FEATURES, "has_faces": Value("bool"), "reason": Value("string")}
    )

    def row(self, row: Row, run: Mapping[str, Any]) -> dict[str, Any]:
        """Both pictures, and in `meta` where they are from and what was found."""
        made_by = run["generators"][row["generator"]]
        provenance = {
            "photograph": {"sha256": row["sha256"], "box": row.get("box"), "scale": row.get("scale")},
            "generator": made_by | {"drawn_by": row["drawn_by"]},
            "template": row["template"],
            "question": row["question"],
            "mark": row["mark"],
            "synthid": "expected" if made_by["provider"] == "google" else "unknown",
            **{name: json.loads(row[name]) for name in _JSON if row.get(name)},
        }
        if "judgement" in provenance:
            provenance["judged_by"] = run["models"]["vision"]
        if "reason" in row:
            provenance["refused"] = {name: row[name] for name in ("refused_by", "reason", "detail")}
        diagnosis = json.loads(row.get("diagnosis") or "{}")
        if "gt" not in row:  # what could not be laid over its photograph is as it was drawn
            row = row | {"gt": png(shown_rgb(row["candidate"]))}
        lq, gt = ({"bytes": row[side], "path": f"{row['id']}.{side}.png"} for side in PICTURES)
        return pair_row(
            row["id"],
            lq,
            gt,
            source=row["source"],
            task=row["category"],
            prompt=row["prompt"],
            meta={"curation": provenance},
            has_faces=diagnosis.get("has_faces"),
            reason=row.get("reason"),
            lq_sha256=hashlib.sha256(row["lq"]).hexdigest(),
            gt_sha256=hashlib.sha256(row["gt"]).hexdigest(),
        )

    def card(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """How it was made, by whom, and what decided."""
        makers = ", ".join(
            f"`{one['model']}` ({one['provider']})" for one in run.get("generators", {}).values()
        )
        judges = ", ".join(f"`{model}`" for model in run["models"].values()) or "no model"
        how = f"""\
By ggt-hub {version("ggt-hub")}, after the idea of GGT-100K (arXiv 2605.31039); its code, prompts and thresholds are
not published, so these are ours. Candidates by {makers}; {judges} examined and judged. `meta` holds the provenance
of each pair: the SHA-256 of the photograph, its crop, generator, template, what was measured and what was said.
`funnel.json` says how many rows each stage dropped and why, `run.yaml` has all settings. The stages:
`{json.dumps(run["stages"], ensure_ascii=False)}`

## People

`has_faces` says whether a model has seen a face in a photograph (null: nobody looked), so that

    pairs.filter(lambda pair: pair["has_faces"] is False)

is a part without faces. To have a photograph removed, send its SHA-256 or its `id` to whoever publishes this set;
`ggt-hub curate run --takedown` removes it, and all that was made of it."""
        return {"about": _ABOUT, "how": how, "limits": _LIMITS}
