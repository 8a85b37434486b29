"""What is left becomes a data set of clean pictures, each with its prompt and where it comes from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from ggt_hub.curation.stage import Packing, Row
from ggt_hub.data.pairs import pair_row

_ABOUT = """\
Pictures that a text-to-image model has drawn, in Parquet, for the training of restorers: clean ones, `gt`, which
nothing damages yet (`lq` is null). None of them is a photograph of anybody or anything."""

_LIMITS = """\
They are drawn, so what they show need not be possible, and textures are those that the model knows. The model was
trained on photographs and may draw what it has seen. Its licence, and that of whom was asked, holds for these
pictures: state it above."""


@dataclass(frozen=True)
class Pack(Packing):
    """Rows of the pair schema without a low-quality picture.

    Attributes:
        rows: in one file.
    """

    rows: Annotated[int, Ge(1)] = 100

    name: ClassVar[str] = "pack"
    needs: ClassVar[tuple[str, ...]] = ("picture", "prompt", "seed", "topic", "quality", "inspection")

    def row(self, row: Row, run: Mapping[str, Any]) -> dict[str, Any]:
        """The picture, and in `meta` its provenance."""
        generate = _settings(run, "generate")
        provenance = {
            "pipeline": _name(run["pictures"]),
            "seed": row["seed"],
            "guidance": generate["guidance"],
            "steps": generate["steps"],
            "topic": row["topic"],
            "quality": round(row["quality"], 4),
            "inspection": row["inspection"],
            "inspected_by": run["models"]["vision"],
            "prompt_by": run["models"]["language"],
        }
        return pair_row(
            row["id"],
            None,
            {"bytes": row["picture"], "path": f"{row['id']}.png"},
            source="genir",
            prompt=row["prompt"],
            meta={"genir": provenance},
            gt_sha256=hashlib.sha256(row["picture"]).hexdigest(),
        )

    def card(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """How it was made, and how far it was checked that nobody's privacy is touched."""
        models = run["models"]
        settings = json.dumps(run["stages"], ensure_ascii=False)
        how = f"""\
By ggt-hub {version("ggt-hub")}, as GenIR (DreamClear, arXiv 2410.18666) describes: photographs and spoilt
copies of them taught `{_name(run["pictures"])}` two prompts, good and bad; `{models["language"]}` wrote scenes; the
pipeline drew them between the two. `meta` holds the provenance of each picture, `prompt` its scene, `funnel.json`
how many rows each stage dropped and why, `run.yaml` the settings. The stages: `{settings}`

## Privacy

Meant to be privacy-safe: no photograph is part of it. How far that was checked:

- The prompts were asked for under rules against recognisable people, children, names, documents, plates and other
  private or sensitive things, and read against the same rules a second time by `{models["language"]}`, which
  removed what breaks them and whatever it said nothing about.
- Each picture was inspected by `{models["vision"]}` for recognisable people, legible names, plates and
  documents, and unsafe content; its answer is in `meta`.
- Near-duplicates of each other were removed. The pictures were not compared with the model's training data, and no
  person has looked at them unless it is said below."""
        return {"about": _ABOUT, "how": how, "limits": _LIMITS}


def _name(pictures: str) -> str:
    """What the pipeline is called; of a folder the last part, for the rest is nobody's business."""
    return Path(pictures).name if Path(pictures).is_dir() else pictures


def _settings(run: Mapping[str, Any], stage: str) -> dict[str, Any]:
    return next(one[stage] for one in run["stages"] if stage in one)
