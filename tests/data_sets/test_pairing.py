"""Pairing by the ordered rules, and what happens where none fits."""

import random
import unicodedata

import pytest

from ggt_hub.data.recognising.manifests import Mention, read_manifest
from ggt_hub.data.recognising.pairing import pair_up
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.recognising.words import split_of, task_of
from ggt_hub.data.storage.archives import Member
from ggt_hub.data.storage.trees import File
from ggt_hub.errors import DatasetError


def loose(*paths: str) -> list[Member]:
    return [Member(path, path, File(path, 1, path)) for path in paths]


def paired(*paths: str, **options) -> tuple[set, tuple]:
    pairing = pair_up(loose(*paths), **options)
    return {(pair.lq.path, pair.gt.path) for pair in pairing.pairs}, pairing.rules


@pytest.mark.parametrize(
    ("lq", "gt", "rule"),
    [
        ("train/LQ/1.png", "train/GT/1.png", "folders, whole path"),
        ("input/rain/1.jpg", "target/rain/1.png", "folders, whole path"),
        ("low/1.png", "high/1.png", "folders, whole path"),
        ("a/1_lq.png", "a/1_gt.png", "names, whole path"),
        ("a/lq-1.png", "a/hq-1.png", "names, whole path"),
        ("low-light/1_input.png", "low-light/1_target.png", "names, whole path"),
        ("LQ/1.png", "ground_truth/1.png", "folders, whole path"),
        ("LQ/1.png", "GGT/1.png", "folders, whole path"),
        ("haze/1/lq.png", "haze/1/gt.png", "words, whole path"),
        ("LQ/1_LQ.png", "GT/1_GT.png", "words, whole path"),
        ("low-light_LQ_1/7.png", "low-light_GT_1/7.png", "words, whole path"),
        ("Low Quality/1.png", "High-Quality/1.png", "folders, whole path"),
        ("before/1.jpg", "after/1.jpg", "folders, whole path"),
        ("low/LQ/1.png", "low/GT/1.png", "folders, whole path"),
        ("output/1/LQ/a.png", "output/1/GT/a.png", "folders, whole path"),
        ("a/1.png", "a/1_gt.png", "bare names"),
        ("a/1_lq.png", "a/1.png", "bare names"),
        ("photos/1.jpg", "GT/1.png", "bare names"),
        ("haze/hazy/1.jpg", "haze/clear/1_gt.png", "bare names"),
        ("LQ/1.png", "rest/1_GT.png", "bare names"),
    ],
)
def test_rules_tell_the_sides_apart(lq, gt, rule):
    other = (lq.replace("1", "22"), gt.replace("1", "22"))
    assert paired(lq, gt, *other) == ({(lq, gt), other}, (rule,))


def test_the_first_rule_that_fits_wins_for_each_split():
    found, rules = paired("train/LQ/1.png", "train/GT/1.png", "test/1_lq.png", "test/1_gt.png")
    assert found == {("train/LQ/1.png", "train/GT/1.png"), ("test/1_lq.png", "test/1_gt.png")}
    assert rules == ("names, whole path", "folders, whole path")


def test_same_names_in_different_categories_are_never_mixed():
    with pytest.raises(DatasetError, match=r"haze/LQ/1\.png\n  rain/GT/1\.png"):
        pair_up(loose("haze/LQ/1.png", "rain/GT/1.png"))


def test_bare_names_pair_within_a_category_alone():
    same = [f"{task}/{folder}/1.png" for task in ("haze", "rain") for folder in ("photos", "GT")]
    assert paired(*same) == ({tuple(same[:2]), tuple(same[2:])}, ("bare names",))
    with pytest.raises(DatasetError, match="one to one"):
        pair_up(loose("a/photos/1.png", "b/photos/1.png", "a/GT/1.png", "b/GT/1.png"))


def test_up_to_half_a_percent_without_partner_are_reported_not_dropped():
    paths = [f"{side}/{n}.png" for side in ("LQ", "GT") for n in range(500)]
    pairing = pair_up(loose(*paths, "LQ/alone.png"))
    assert len(pairing.pairs) == 500
    assert [member.path for member in pairing.unpaired] == ["LQ/alone.png"]
    with pytest.raises(DatasetError, match=r"6 have no single partner, such as\n  LQ/x0\.png"):
        pair_up(loose(*paths, *(f"LQ/x{n}.png" for n in range(6))))


def test_two_candidates_for_one_partner_fail_loudly():
    with pytest.raises(DatasetError, match="one to one"):
        pair_up(loose("LQ/1.png", "LQ/1.jpg", "GT/1.png"))


def test_order_pairs_only_when_asked():
    paths = ("LQ/a.png", "LQ/b.png", "GT/x.png", "GT/y.png")
    with pytest.raises(DatasetError, match="pass by_order=True"):
        pair_up(loose(*paths))
    assert paired(*paths, by_order=True) == (
        {("LQ/a.png", "GT/x.png"), ("LQ/b.png", "GT/y.png")},
        ("order",),
    )
    with pytest.raises(DatasetError):
        pair_up(loose(*paths, "LQ/c.png"), by_order=True)


def test_a_manifest_pairs_and_tells_task_and_prompt():
    mention = Mention("./old/base/a.png", "old\\base\\b.png", "haze", "Clear it.", {"score": 3})
    pairing = pair_up(loose("images/base/a.png", "images/base/b.png"), [mention])
    (pair,) = pairing.pairs
    assert (pair.lq.path, pair.gt.path, pair.task) == ("images/base/a.png", "images/base/b.png", "haze")
    assert pairing.rules == ("manifest",)


def test_a_manifest_adds_to_what_names_have_paired():
    pairing = pair_up(loose("LQ/a.png", "GT/a.png"), [Mention("LQ/a.png", None, "snow", "Melt it.", {})])
    (pair,) = pairing.pairs
    assert (pair.task, pair.mention.prompt, pairing.rules) == ("snow", "Melt it.", ("folders, whole path",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.jsonl", '{"lq": "a.png", "gt": "b.png", "type": ["rain"], "prompt": "p"}\n'),
        ("m.json", '[{"lq": "a.png", "gt": "b.png", "type": "rain", "prompt": "p"}]'),
        ("m.json", '{"pairs": [{"lq_path": "a.png", "gt_path": "b.png", "type": "rain", "prompt": ["p"]}]}'),
        ("m.json", '{"a.png": {"GT": "b.png", "Type": "rain", "prompt": "p"}}'),
        ("m.csv", "lq,gt,type,prompt\na.png,b.png,rain,p\n"),
    ],
)
def test_manifests_of_all_kinds_say_the_same(name, text):
    assert read_manifest(name, text.encode()) == [Mention("a.png", "b.png", "rain", "p", {}, manifest=name)]


def test_a_manifest_counts_from_its_own_folder():
    for folder in ("rain", "haze"):
        (mention,) = read_manifest(f"train/{folder}/m.json", b'[{"lq": "a/1.png", "gt": "../all/./1.png"}]')
        assert mention[:2] == (f"train/{folder}/a/1.png", "train/all/1.png")
    members = loose(*(f"train/{t}/{f}/1.png" for t in ("rain", "haze") for f in "ab"))
    entries = [
        e for t in ("rain", "haze") for e in read_manifest(f"train/{t}/m.txt", b"lq,gt\na/1.png,b/1.png\n")
    ]
    pairing = pair_up(members, entries)
    assert [(p.lq.path, p.gt.path) for p in pairing.pairs] == [
        ("train/rain/a/1.png", "train/rain/b/1.png"),
        ("train/haze/a/1.png", "train/haze/b/1.png"),
    ]


def test_several_kinds_of_damage_are_a_mixture_and_text_has_two_columns():
    (mention,) = read_manifest("m.json", b'[{"lq": "a", "gt": "b", "type": ["haze", "rain"]}]')
    assert mention.task == "general"
    assert read_manifest("m.txt", b"a.png b.png\nc.png,d.png\n")[1][:2] == ("c.png", "d.png")
    assert read_manifest("m.txt", b"just some words of a read-me\n") == []
    with pytest.raises(DatasetError, match=r"m\.json cannot be read as a manifest"):
        read_manifest("m.json", b"{")


@pytest.mark.parametrize(
    ("path", "split", "task"),
    [
        ("GGT-100K/train/haze/x.png", "train", "haze"),
        ("GGT-100K/test_low-light/x.png", "test", "low_light"),
        ("val/01_old photos/x.png", "validation", "old_photo"),
        ("Rain13K/train/x.png", "train", "rain"),
        ("train/rain_0001_lq.png", "train", "rain"),
        ("train/haze/rain_0001_lq.png", "train", "haze"),
        ("train/0001.png", "train", None),
        ("general mixed/x.png", "train", "general"),
    ],
)
def test_folders_tell_split_and_task(path, split, task):
    assert (split_of(path), task_of(path)) == (split, task)


SIDE_NAMES = [
    ("LQ", "GT"), ("input", "target"), ("LQ_images", "GT_images"), ("low", "high"), ("LR", "HR"),
    ("Low_Quality", "High_Quality"), ("lq_1024", "gt_1024"), ("Input", "GroundTruth"), ("source", "target"),
]  # fmt: skip
CATEGORY_NAMES = {"general_mixed": "general", "01_rain": "rain", "Fog": "haze", "Low-Light": "low_light"}


def some_layout(draw: random.Random) -> dict[tuple[str, str], tuple[str, str]]:
    """Folders in any order, perhaps archives of joined names: the paths of each pair, with its task and split."""
    sides, order = draw.choice(SIDE_NAMES), draw.sample(["split", "task", "side"], 3)
    told_by, archive_depth = draw.choice(["folder", "suffix", "prefix", "both"]), draw.randint(0, 3)
    step, endings = draw.choice([0, 100]), draw.choice([("png", "png"), ("JPG", "png")])
    layout = {}
    for split in ("train", "test"):
        for place, name in enumerate(CATEGORY_NAMES):
            for number in range(3):
                paths = []
                for side, ending in zip(sides, endings, strict=True):
                    stem = f"{place * step + number:04d}"
                    stem = {"folder": stem, "prefix": f"{side}_{stem}"}.get(told_by, f"{stem}_{side}")
                    folder = side if told_by in ("folder", "both") else None
                    parts = [{"split": split, "task": name, "side": folder}[what] for what in order]
                    parts = [part for part in parts if part]
                    joined = "_".join(parts[:archive_depth])
                    paths.append(
                        "/".join(
                            ["GGT-100K", *filter(None, [joined]), *parts[archive_depth:], f"{stem}.{ending}"]
                        )
                    )
                layout[tuple(paths)] = CATEGORY_NAMES[name], split
    return layout


def test_no_layout_is_paired_wrongly_and_hardly_any_refused():
    refused = []
    for seed in range(400):
        layout = some_layout(random.Random(seed))
        members = loose(*(path for paths in layout for path in paths))
        random.Random(seed).shuffle(members)
        try:
            pairing = pair_up(members)
        except DatasetError:
            refused.append(min(layout))
            continue
        assert {(p.lq.path, p.gt.path): (p.task, p.split) for p in pairing.pairs} == layout
    # Inside a longer name, "low" may as well be of low light.
    assert len(refused) < 8
    assert all("low_" in lq or "_low" in lq for lq, _ in refused)


# How the public sets unpack: (lq, gt) of some pairs, and pictures that belong to none.
PUBLIC = {
    "GoPro": (
        [(f"GOPRO_Large/{s}/GOPR0{v}_11_00/blur/{n:06d}.png", f"GOPRO_Large/{s}/GOPR0{v}_11_00/sharp/{n:06d}.png")
         for s in ("train", "test") for v in (372, 384) for n in (47, 48)],
        [f"GOPRO_Large/{s}/GOPR0{v}_11_00/blur_gamma/{n:06d}.png"
         for s in ("train", "test") for v in (372, 384) for n in (47, 48)],
    ),
    "SIDD": (
        [(f"SIDD_Medium/Data/{f}/{f[:4]}_NOISY_SRGB_0{n}.PNG", f"SIDD_Medium/Data/{f}/{f[:4]}_GT_SRGB_0{n}.PNG")
         for f in ("0001_001_S6_00100_00060_3200_L", "0002_001_S6_00100_00020_3200_N") for n in (10, 11)],
        [],
    ),
    "Rain100H": (
        [(f"rain_data_test_Heavy/rain-{n:03d}.png", f"rain_data_test_Heavy/norain-{n:03d}.png")
         for n in (1, 2, 30)],
        [f"rain_data_test_Heavy/rainstreak-{n:03d}.png" for n in (1, 2, 30)],
    ),
    "Rain100L, in folders": (
        [(f"Rain100L/rainy/rain-{n:03d}.png", f"Rain100L/norain-{n:03d}.png") for n in (1, 2, 30)], []
    ),
    "Rain100L, repacked": (
        [(f"Rain100L/input/{n}.png", f"Rain100L/target/{n}.png") for n in (1, 2, 30)], []
    ),
    "RainDrop": (
        [(f"{s}/data/{n}_rain.png", f"{s}/gt/{n}_clean.png") for s in ("train", "test_a") for n in range(3)], []
    ),
    "RealSR": (
        [(f"RealSR(V3)/{c}/{s}/{x}/{c}_{n:03d}_LR{x}.png", f"RealSR(V3)/{c}/{s}/{x}/{c}_{n:03d}_HR.png")
         for c in ("Canon", "Nikon") for s in ("Train", "Test") for x in (2, 3, 4) for n in (1, 2)],
        [],
    ),
    "LOL": ([(f"{f}/low/{n}.png", f"{f}/high/{n}.png") for f in ("our485", "eval15") for n in (1, 22)], []),
    "LOL-v2 real": (
        [(f"LOL-v2/Real_captured/{s}/Low/low{n:05d}.png", f"LOL-v2/Real_captured/{s}/Normal/normal{n:05d}.png")
         for s in ("Train", "Test") for n in (1, 690)],
        [],
    ),
    "LOL-v2 synthetic": (
        [(f"LOL-v2/Synthetic/{s}/Low/r{n:03x}da54ft.png", f"LOL-v2/Synthetic/{s}/Normal/r{n:03x}da54ft.png")
         for s in ("Train", "Test") for n in (0, 17)],
        [],
    ),
    "RESIDE ITS": (
        [(f"ITS/hazy/{n}_{k}_0.9{k}179.png", f"ITS/clear/{n}.png") for n in (1, 10, 11) for k in (1, 2, 10)],
        [f"ITS/trans/{n}_{k}.png" for n in (1, 10, 11) for k in (1, 2, 10)],
    ),
    "RESIDE SOTS": (
        [(f"SOTS/{w}/hazy/{n:04d}_{k}.png", f"SOTS/{w}/gt/{n:04d}.png")
         for w in ("indoor", "outdoor") for n in (1400, 1401) for k in (1, 2)],
        [],
    ),
    "UIEB": (
        [(f"UIEB/raw-890/{n}_img_.png", f"UIEB/reference-890/{n}_img_.png") for n in (2, 15, 300)],
        [f"UIEB/challenging-60/{n}.png" for n in (7, 8)],
    ),
    "Snow100K": (
        [(f"Snow100K-training/all/synthetic/winter_{n:05d}.jpg", f"Snow100K-training/all/gt/winter_{n:05d}.jpg")
         for n in (1, 2, 300)],
        [f"Snow100K-training/all/mask/winter_{n:05d}.jpg" for n in (1, 2, 300)],
    ),
    "ISTD": (
        [(f"ISTD_Dataset/{s}/{s}_A/{n}-1.png", f"ISTD_Dataset/{s}/{s}_C/{n}-1.png")
         for s in ("train", "test") for n in (1, 10)],
        [f"ISTD_Dataset/{s}/{s}_B/{n}-1.png" for s in ("train", "test") for n in (1, 10)],
    ),
    "DIV2K": (
        [(f"DIV2K_train_LR_bicubic/X4/{n:04d}x4.png", f"DIV2K_train_HR/{n:04d}.png") for n in (1, 800)], []
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_pair_as_they_unpack(name):
    pairs, others = PUBLIC[name]
    paths = [path for pair in pairs for path in pair]
    pairing = pair_up(loose(*dict.fromkeys([*paths, *others])))
    assert {(pair.lq.path, pair.gt.path) for pair in pairing.pairs} == set(pairs)
    assert {member.path for member in pairing.unpaired} == set(others)
    assert len({pair.key for pair in pairing.pairs}) == len(pairs)
    assert {pair.split for pair in pairing.pairs} <= {"train", "test"}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"lq": "poor"}, [("poor/1.png", "good/1.png")]),
        ({"gt": "good"}, [("poor/1.png", "good/1.png")]),
        ({"lq": "good", "gt": "poor"}, [("good/1.png", "poor/1.png")]),
        ({"lq": "other/*", "gt": "goo?"}, [("other/1.png", "good/1.png")]),
        ({"lq": "*/1.png", "include": "poor", "exclude": "1.png"}, None),
        ({"lq": "poor/1.*", "gt": "good"}, [("poor/1.png", "good/1.png")]),
    ],
)
def test_what_is_told_decides(told, found):
    paths = ["poor/1.png", "good/1.png"]
    if "other" in str(told):
        paths += ["other/1.png"]
    if found is None:
        with pytest.raises(DatasetError, match="include= and exclude= leave none"):
            pair_up(loose(*paths), told=Told(**told))
        return
    pairing = pair_up(loose(*paths), told=Told(**told))
    assert [(pair.lq.path, pair.gt.path) for pair in pairing.pairs] == found
    assert pairing.rules == ("told",)


def test_a_template_says_how_the_names_follow():
    paths = ["a/7x4m.png", "b/7.png", "a/8x4m.png", "b/8.png"]
    with pytest.raises(DatasetError, match="one to one"):
        pair_up(loose(*paths), told=Told(lq="a", gt="b"))
    pairing = pair_up(loose(*paths), told=Told(lq="a", gt="b", template="{}x4m"))
    assert [(p.lq.path, p.gt.path) for p in pairing.pairs] == [
        ("a/7x4m.png", "b/7.png"),
        ("a/8x4m.png", "b/8.png"),
    ]
    with pytest.raises(DatasetError, match=r"must hold \{\} once"):
        Told(template="x4")


def test_pictures_that_both_patterns_fit_are_named():
    with pytest.raises(DatasetError, match=r"a/1\.png is both lq \(a\) and gt \(\*\)"):
        pair_up(loose("a/1.png", "b/1.png"), told=Told(lq="a", gt="*"))


def listed(name: str, text: str, *paths: str, **told) -> list[tuple[str, str | None]]:
    pairing = pair_up(loose(*paths), read_manifest(name, text.encode()), told=Told(**told))
    return [(pair.lq.path, pair.gt and pair.gt.path) for pair in pairing.pairs]


def test_a_list_with_the_ground_truth_first_is_turned():
    paths = [f"{folder}/{n}.png" for folder in ("DIV2K_train_LR_sub", "DIV2K_train_HR_sub") for n in "12"]
    text = "".join(f"DIV2K_train_HR_sub/{n}.png, DIV2K_train_LR_sub/{n}.png\n" for n in "12")
    wanted = [(f"DIV2K_train_LR_sub/{n}.png", f"DIV2K_train_HR_sub/{n}.png") for n in "12"]
    assert listed("meta_info.txt", text, *paths) == wanted
    assert listed("meta_info.csv", text, *paths) == wanted


def test_a_list_that_does_not_say_its_sides_is_refused_until_told():
    text, paths = "a/1.png b/1.png\n", ("a/1.png", "b/1.png")
    with pytest.raises(
        DatasetError, match=r"m\.txt: nothing says which column is the low-quality one, a/1\.png or b"
    ):
        listed("m.txt", text, *paths)
    assert listed("m.txt", text, *paths, lq="b") == [("b/1.png", "a/1.png")]


def test_a_list_whose_lines_or_header_contradict_its_paths_is_refused():
    paths = ("lq/1.png", "gt/1.png", "lq/2.png", "gt/2.png")
    with pytest.raises(
        DatasetError, match=r"its lines do not agree which column is lq, such as gt/2\.png and lq/2"
    ):
        listed("m.txt", "lq/1.png gt/1.png\ngt/2.png lq/2.png\n", *paths)
    with pytest.raises(DatasetError, match=r"column lq holds ground truth by its paths, such as gt/1\.png"):
        listed("m.csv", "lq,gt\ngt/1.png,lq/1.png\n", *paths)


def test_a_manifest_wins_over_names():
    text = "lq,gt,prompt\nlq/1.png,gt/2.png,one\nlq/2.png,gt/1.png,two\n"
    paths = ("lq/1.png", "gt/1.png", "lq/2.png", "gt/2.png", "lq/3.png", "gt/3.png")
    assert listed("m.csv", text, *paths[:4]) == [("lq/1.png", "gt/2.png"), ("lq/2.png", "gt/1.png")]
    assert listed("m.csv", text, *paths)[2:] == [("lq/3.png", "gt/3.png")]


def test_a_listed_picture_that_is_missing_is_not_replaced_by_a_stray_of_its_name():
    text = "lq,gt\n" + "".join(f"lq/{n}.png,gt/{n}.png\n" for n in range(4))
    paths = [f"{side}/{n}.png" for side in ("lq", "gt") for n in range(3)]
    pairing = pair_up(
        loose(*paths, "gt/3.png", "old/lq/3.png"),
        read_manifest("m.csv", text.encode()),
        told=Told(exclude="3.png"),
    )
    assert pairing.missing == ("lq/3.png", "gt/3.png")
    assert len(pairing.pairs) == 3
    with pytest.raises(DatasetError, match=r"1 have no single partner, such as\n  old/lq/3\.png"):
        pair_up(loose(*paths, "gt/3.png", "old/lq/3.png"), read_manifest("m.csv", text.encode()))


def test_a_picture_that_is_listed_twice_is_named():
    with pytest.raises(DatasetError, match=r"lq/1\.png is in two pairs"):
        listed("m.csv", "lq,gt\nlq/1.png,gt/1.png\nlq/1.png,gt/2.png\n", "lq/1.png", "gt/1.png", "gt/2.png")


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("m.csv", "lq;gt\na b/1 x.png;c d/1 x.png\n", "utf-8"),
        ("m.csv", '"lq";"gt"\r\n"a b/1 x.png";"c d/1 x.png"\r\n', "utf-8-sig"),
        ("m.txt", "lq\tgt\r\na b/1 x.png\tc d/1 x.png\r\n", "utf-16"),
        ("m.tsv", "lq\tgt\na b/1 x.png\tc d/1 x.png\n", "utf-16-le"),
        ("m.csv", "lq_file_name, gt_file_name\na b/1 x.png, c d/1 x.png\n", "utf-8"),
        ("m.txt", "a b/1 x.png c d/1 x.png\n", "utf-8"),
        ("m.txt", "a b/1 x.png, c d/1 x.png\n", "utf-8"),
        ("m.jsonl", '{"lq_file_name": "a b/1 x.png", "gt_file_name": "c d/1 x.png"}\n', "utf-16"),
        ("m.csv", "Input Path,Target Image\na b/1 x.png,c d/1 x.png\n", "utf-8"),
    ],
)
def test_manifests_as_people_and_spreadsheets_write_them(name, text, encoding):
    (mention,) = read_manifest(name, text.encode(encoding))
    assert mention[:2] == ("a b/1 x.png", "c d/1 x.png")
    assert mention.is_told == ("q" in text or "Input" in text)


def test_accents_pair_however_a_system_spells_them_and_capitals_are_named():
    nfc, nfd = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    assert paired(f"lq/{nfd}.png", f"gt/{nfc}.png", "lq/b.png", "gt/b.png")[0] == {
        (f"lq/{nfd}.png", f"gt/{nfc}.png"), ("lq/b.png", "gt/b.png"),
    }  # fmt: skip
    assert listed("m.csv", f"lq,gt\nx/{nfc}.png,y/{nfd}.png\n", f"x/{nfd}.png", f"y/{nfc}.png") == [
        (f"x/{nfd}.png", f"y/{nfc}.png")
    ]
    with pytest.raises(DatasetError, match="Some differ in capitals alone, such as IMG_1: rename one side"):
        pair_up(loose("lq/IMG_1.png", "gt/img_1.png"))


def test_a_column_source_is_no_side_unless_there_is_a_target():
    (mention,) = read_manifest("m.csv", b"source,lq,gt\nset one,a.png,b.png\n")
    assert (mention.lq, mention.gt, mention.further) == ("a.png", "b.png", {"source": "set one"})
    (mention,) = read_manifest("m.csv", b"source,target\na.png,b.png\n")
    assert (mention.lq, mention.gt) == ("a.png", "b.png")
