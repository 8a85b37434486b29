"""What the stages make of replies and pictures."""

import io
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Later, Split
from ggt_hub.curation.stages import STAGES
from ggt_hub.curation.stages.asking import Caption, CheckPrompts, Inspect, WritePrompts
from ggt_hub.curation.stages.gather import Gather
from ggt_hub.curation.stages.quality import Filter, LearnQuality
from ggt_hub.curation.stages.unlike import Apart, Unlike
from ggt_hub.curation.tables import has_postponed, read_kept, write_table
from ggt_hub.curation.words import words
from ggt_hub.data.work.duplicates import perceptual_hash
from ggt_hub.errors import PossiblyBilledError, QuestionRefusedError
from ggt_hub.images.shown import shown_rgb
from ggt_hub.vlm import Asker, Ledger, Reply
from tests.photographs import photograph


class Scripted:
    """A service that replies with its script, in order, and remembers what it was asked."""

    model, revision, endpoint, parameters, budget = "scripted", None, None, {}, None
    max_retries, per_minute = 0, None

    def __init__(self, *script: Any) -> None:
        self.script, self.asked = [*script], []

    def send(self, question: Any) -> Reply:
        self.asked.append(question)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return Reply(step)


def context(*script: Any, **rest: Any) -> Context:
    """With one question at a time, so that the script is followed."""
    return Context(0, asker=Asker(Scripted(*script), Ledger(":memory:"), workers=1), **rest)


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def rows(count: int, **columns: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    pictures = [png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(count)]
    return [
        {"id": str(n), "photograph": picture, "picture": picture, **columns}
        for n, picture in enumerate(pictures)
    ]


def test_each_reply_to_a_caption_has_its_outcome() -> None:
    here = context(" A lake\nat dawn. ", " ", QuestionRefusedError("filtered"), PossiblyBilledError("cut"))
    outcomes = Caption().decide(rows(4), here)
    assert outcomes[0] == Kept({"caption": "A lake at dawn."})
    assert outcomes[1] == Dropped("an empty caption")
    assert outcomes[2] == Dropped("the model refuses", "filtered")
    assert outcomes[3] == Later("possibly billed", "cut; --ask-again asks it again")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("YES", Kept({"inspection": "YES"})),
        ("**Yes.** Nothing wrong.", Kept({"inspection": "**Yes.** Nothing wrong."})),
        ("NO: (anomaly) a sixth finger", Dropped("inspection: anomaly", "(anomaly) a sixth finger")),
        ("No, unsafe: blood", Dropped("inspection: unsafe", "unsafe: blood")),
        ("no", Dropped("inspection: other", "")),
        ("Nobody is there. YES", Dropped("no verdict", "Nobody is there. YES")),
        ("", Dropped("no verdict", "")),
    ],
)
def test_each_reply_of_an_inspection_has_its_outcome(reply: str, outcome: Any) -> None:
    assert Inspect().decide(rows(1), context(reply)) == [outcome]


def test_prompts_are_the_numbered_lines_of_their_question_under_the_rules() -> None:
    stage = WritePrompts(count=5, at_once=3)
    seeds = stage.seeds("anything")
    assert [seed.id for seed in seeds[:2]] == ["prompt-0000000", "prompt-0000001"]
    here = context("Sure!\n1. One\n2) Two\n 3: Three", "2. Five\n2. another")
    outcomes = stage.decide([{"id": seed.id, "seed": seed.content} for seed in seeds], here)
    topics = words("scenes")["topics"]
    assert [outcome.values.get("prompt") for outcome in outcomes[:3]] == ["One", "Two", "Three"]
    assert outcomes[3:] == [Dropped("not written"), Kept({"prompt": "Five", "topic": topics[1]})]
    first, second = (question.text for question in here.asks.service.asked)
    assert topics[0] in first and topics[1] in second
    for rule in words("scenes")["rules"]:
        assert rule in first


def test_the_same_topic_comes_again_as_another_question() -> None:
    stage = WritePrompts(count=2 * len(words("scenes")["topics"]), at_once=1)
    count = stage.count
    here = context(*[f"1. prompt {n}" for n in range(count)])
    seeds = [{"id": seed.id, "seed": seed.content} for seed in stage.seeds("")]
    outcomes = stage.decide(seeds, here)
    assert len({outcome.values["prompt"] for outcome in outcomes}) == count == len(here.asks.service.asked)


def test_a_prompt_stays_only_where_the_check_says_so() -> None:
    prompts = [{"id": str(n), "prompt": f"Scene {n}"} for n in range(5)]
    here = context("1. KEEP\n2. REMOVE - rule 2, a child\n3. I cannot say", QuestionRefusedError("no"))
    assert CheckPrompts(at_once=4).decide(prompts, here) == [
        Kept(),
        Dropped("breaks a rule", "rule 2, a child"),
        Dropped("no verdict", "1. KEEP\n2. REMOVE - rule 2, a child\n3. I cannot say"),
        Dropped("no verdict", "1. KEEP\n2. REMOVE - rule 2, a child\n3. I cannot say"),
        Dropped("the model refuses", "no"),
    ]
    asked = here.asks.service.asked[0].text
    assert all(rule in asked for rule in words("scenes")["rules"])
    assert "\n2. Scene 1\n" in asked


def test_what_cannot_be_read_or_is_too_small_is_not_gathered(tmp_path: Path) -> None:
    Image.fromarray(photograph(64)).save(tmp_path / "good.png")
    Image.fromarray(photograph(64)[:20]).save(tmp_path / "low.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:500])
    stage = Gather(smallest=32)
    seeds = stage.seeds(str(tmp_path))
    good, low, torn = stage.decide([{"id": s.id, "seed": s.content} for s in seeds], Context(0))
    assert good.values["photograph"] == (tmp_path / "good.png").read_bytes()
    assert low == Dropped("too small", "64x20")
    assert torn.reason == "unreadable"


@pytest.mark.parametrize(
    "mark",
    [
        b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        b"\0\0\1\0tEXtparameters\0a cat",
    ],
)
def test_what_says_that_a_model_has_drawn_it_is_not_gathered(mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / "drawn.png"
    Image.fromarray(photograph(64)).save(path)
    path.write_bytes(path.read_bytes() + mark)  # readers look no further than the end of the picture
    (seed,) = Gather(smallest=32).seeds(str(tmp_path))
    row = {"id": seed.id, "seed": seed.content}
    assert Gather(smallest=32).decide([row], Context(0))[0].reason == "drawn by a model"
    assert isinstance(Gather(smallest=32, drawn_too=True).decide([row], Context(0))[0], Kept)
    captured = path.read_bytes().replace(mark, b"digitalsourcetype/digitalCapture")
    path.write_bytes(captured)
    assert isinstance(Gather(smallest=32).decide([row], Context(0))[0], Kept)


def test_a_classifier_learns_to_tell_and_filters(tmp_path: Path) -> None:
    """Spoilt pictures are without texture here, so a few steps suffice."""
    rng = np.random.default_rng(0)
    pairs = []
    for n in range(20):
        good = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        pairs.append({"id": str(n), "positive": png(good), "negative": png(good // 16 + 100)})
    (tmp_path / "learned").mkdir()
    report = LearnQuality(crop=32, steps=30, batch=8).learn(pairs, Context(0), tmp_path, tmp_path / "learned")
    assert report == {"pictures": 36, "held_out": 4, "right": 1.0, "crop": 32}
    here = Context(0, learned={"learn-quality": tmp_path / "learned"})
    good, bad, small = Filter().decide(
        [
            {"id": "good", "picture": png(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8))},
            {"id": "bad", "picture": png(np.full((50, 60, 3), 105, np.uint8))},
            {"id": "small", "picture": png(rng.integers(0, 256, (20, 60, 3), dtype=np.uint8))},
        ],
        here,
    )
    assert isinstance(good, Kept) and good.values["quality"] > 0.5
    assert isinstance(bad, Dropped) and bad.reason == "low quality"
    assert isinstance(small, Kept)


def test_of_pictures_that_are_alike_the_first_stays(tmp_path: Path) -> None:
    hashes = [0, 0b111, 2**60 - 1, 0b1, None, None]
    found = [{"id": str(n), "hash": value} for n, value in enumerate(hashes)]
    stage = Unlike()
    assert stage.learn(found, Context(0), tmp_path, tmp_path) == {"alike": 2}
    outcomes = stage.decide(found, Context(0, learned={"unlike": tmp_path}))
    alike = Dropped("nearly the same picture", "0")
    assert outcomes == [Kept(), alike, Kept(), alike, Kept(), Kept()]


def test_pictures_of_evaluation_sets_leave(tmp_path: Path) -> None:
    (tmp_path / "evaluated").mkdir()
    mine = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(mine).save(tmp_path / "evaluated/mine.png")
    shipped = shown_rgb(str(files("ggt_hub.samples") / "chelsea.jpg"))
    recompressed = io.BytesIO()
    Image.fromarray(shipped).resize((300, 200)).save(recompressed, "JPEG", quality=60)
    pictures = {"a": photograph(64), "b": mine, "c": shown_rgb(recompressed.getvalue())}
    found = [{"id": name, "hash": perceptual_hash(pixels)} for name, pixels in pictures.items()]
    stage = Apart(sets=(str(tmp_path / "evaluated"),))
    assert stage.learn(found, Context(0), tmp_path, tmp_path)["alike"] == 2
    kept, own, ours = stage.decide(found, Context(0, learned={"apart": tmp_path}))
    assert kept == Kept()
    assert own == Dropped("in an evaluation set", f"mine.png of {tmp_path / 'evaluated'}")
    assert ours == Dropped("in an evaluation set", "chelsea.jpg of the pictures of the package")


def test_tables_keep_what_stages_gave_and_count_reasons(tmp_path: Path) -> None:
    first, second = tmp_path / "first.arrow", tmp_path / "second.arrow"
    report = write_table(
        first,
        ["a", "b", "c", "d"],
        [Kept({"word": "one"}), Dropped("no", "why"), Kept({"word": "three"}), Later("busy")],
        {"word": pa.string()},
    )
    assert report == {"in": 4, "kept": 2, "dropped": {"no": 1}, "later": {"busy": 1}}
    write_table(second, ["a", "c"], [Dropped("no"), Kept({"number": 3})], {"number": pa.int64()})
    assert read_kept([first], ["word"]) == [{"id": "a", "word": "one"}, {"id": "c", "word": "three"}]
    assert read_kept([first, second], ["word", "number"]) == [{"id": "c", "word": "three", "number": 3}]
    third = tmp_path / "third.arrow"
    split = Split({"0": {"word": "left"}, "1": {"word": "right"}})
    assert write_table(third, ["c"], [split], {"word": pa.string()})["kept"] == 2
    assert read_kept([first, second, third], ["word", "number"]) == [
        {"id": "c/0", "word": "left", "number": 3},
        {"id": "c/1", "word": "right", "number": 3},
    ]
    assert read_kept([first, second, third], []) == [{"id": "c/0"}, {"id": "c/1"}]
    assert (has_postponed(first), has_postponed(second), has_postponed(tmp_path / "none")) == (
        True,
        False,
        False,
    )


def test_every_stage_is_known_by_its_name() -> None:
    for name, stage in STAGES.items():
        assert stage.name == name
        for file in stage.words:
            assert words(file)


@pytest.mark.parametrize("name", [name for name, kind in STAGES.items() if issubclass(kind, Deciding)])
def test_what_other_processes_need_is_pickled(name: str) -> None:
    stage = STAGES[name](**({"count": 3} if name == "write-prompts" else {}))
    context = Context(1, "sdxl", {"tune": Path("learned")})
    assert pickle.loads(pickle.dumps((stage, context))) == (stage, context)
