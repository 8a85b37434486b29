"""Dual-prompt tuning: the pictures and captions of earlier stages as pairs, and the training room."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt

from ggt_hub.commit import commit_json
from ggt_hub.curation.stage import Context, Learning, Row
from ggt_hub.data.pairs import pair_row
from ggt_hub.data.work.export import write_rows
from ggt_hub.errors import CurationError
from ggt_hub.images import read_image

Count = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Tune(Learning):
    """The recipe `genir`, on good pictures and spoilt ones.

    Attributes:
        positive, negative: vectors of the tokens.
        attention: "lora" or "full".
        rank: of the former.
        steps, batch: of the training; a batch is of pairs, for each process.
        learning_rate: held to the end.
    """

    positive: Count = 8
    negative: Count = 8
    attention: Literal["lora", "full"] = "lora"
    rank: Count = 16
    steps: Count = 10_000
    batch: Count = 4
    learning_rate: Annotated[float, Gt(0)] = 1e-4

    name: ClassVar[str] = "tune"
    needs: ClassVar[tuple[str, ...]] = ("positive", "negative", "caption")
    draws: ClassVar[bool] = True

    def check(self) -> None:
        """Attention of low rank needs peft."""
        if self.attention == "lora" and find_spec("peft") is None:
            raise CurationError(
                "the stage tune needs peft: pip install 'ggt-hub[curation]', or attention: full"
            )

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """Train, or go on where it was interrupted; the folder gets what stock pipelines load."""
        from ggt_hub.training import load_recipe, train

        pairs = working / "pairs"
        pairs.mkdir(parents=True, exist_ok=True)
        count = write_rows(pairs / "train.parquet", _pairs(rows))
        side = read_image(next(iter(rows))["positive"]).pixels.shape[0]
        model = {name: getattr(self, name) for name in ("positive", "negative", "attention", "rank")}
        recipe = load_recipe("genir").with_settings({"pipeline": context.pictures})
        stage = replace(
            recipe.stages[0],
            data={str(pairs): 1.0},
            crop=side,
            batch=self.batch,
            steps=self.steps,
            learning_rate=self.learning_rate,
            last_learning_rate=self.learning_rate,
            warmup_steps=min(recipe.stages[0].warmup_steps, self.steps // 10),
        )
        recipe = replace(recipe, model=model, stages=(stage,), seed=context.seed)
        shutil.copytree(train(recipe, working / "run"), folder, dirs_exist_ok=True)
        commit_json(folder / "tuning.json", asdict(self) | {"pairs": count})
        return {"pairs": count}


def _pairs(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield pair_row(
            row["id"],
            {"bytes": row["negative"], "path": None},
            {"bytes": row["positive"], "path": None},
            source="genir",
            prompt=row["caption"],
        )
