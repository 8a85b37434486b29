"""How RealRestorer reads instruction and picture: exact strings, ids and states of the reference."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ggt_hub.converters.realrestorer import load_published
from ggt_hub.errors import RestorerError, TaskError
from ggt_hub.pipelines.realrestorer import LANGUAGES, instruction, prompts
from ggt_hub.tasks import TASKS
from tests.golden import BUNDLE, difference, document, tensors
from tests.pipelines.tiny_realrestorer import tiny_pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def published() -> dict:
    return load_published(BUNDLE)


def prompt_cases() -> list[dict]:
    return document("text_encoder/prompts.json")["prompts"]


def test_prefix_and_instructions_match_their_hashes() -> None:
    template = prompts.template()
    assert hashlib.sha256(template["prefix"].encode()).hexdigest() == template["prefix_sha256"]
    assert template["prefix_sha256"].startswith("40882ddca94ca697") and len(template["prefix"]) == 1058
    file = Path(prompts.__file__).with_name("instructions.json")
    published = json.loads(file.read_text(encoding="utf-8"))["published"]
    for language in LANGUAGES:
        texts = "\n".join(published[language]["texts"].values())
        assert hashlib.sha256(texts.encode()).hexdigest() == published[language]["sha256"]


def test_published_instructions_are_the_released_ones() -> None:
    released = document("prompt/template.json")["task_prompts_release"]
    for language in LANGUAGES:
        assert {task: instruction(task, language) for task in released[language]} == released[language]


def test_every_task_has_an_instruction_in_both_languages() -> None:
    assert all(instruction(task, language) for task in TASKS for language in LANGUAGES)
    assert instruction() == "Restore the details and keep the original composition."
    with pytest.raises(TaskError, match="no instructions in language 'de': choose one of en, zh"):
        instruction("blur", "de")
    with pytest.raises(TaskError, match="unknown task 'dust'"):
        instruction("dust")


def test_quotes_are_split_as_published() -> None:
    for case in document("prompt/quote_split.json"):
        assert prompts.split_quotes(case["text"]) == case["pieces"]


def test_conversations_are_rendered_as_published(published: dict) -> None:
    for case in document("prompt/rendered.json"):
        text = prompts.render(published["processor"], case["prompt"], case["with_image"])
        assert text == case["chat_text"]
        assert prompts.split_quotes(text) == case["pieces"]


@pytest.mark.parametrize("case", prompt_cases(), ids=lambda case: case["name"])
@torch.no_grad()
def test_ids_mask_and_states_are_the_published_ones(published: dict, case: dict) -> None:
    io, name = tensors("text_encoder/io.safetensors"), case["name"]
    encoder, processor = published["text_encoder"], published["processor"]
    picture = Image.fromarray(io["in.reference_uint8_hwc"].numpy())
    sight = prompts.see(encoder, processor, picture, CPU) if case["with_image"] else None
    assert torch.equal(prompts.token_ids(processor, case["prompt"], sight), io[f"{name}.input_ids"])
    states, mask = prompts.read(encoder, processor, case["prompt"], sight, CPU)
    assert torch.equal(mask, io[f"{name}.mask"][0])
    # Another processor computed them: 3.5e-6 is reached.
    assert difference(states, io[f"{name}.embeds"][0]) < 5e-5


@torch.no_grad()
def test_the_vision_encoder_sees_the_published_pixels(published: dict) -> None:
    io = tensors("text_encoder/io.safetensors")
    picture = Image.fromarray(io["in.reference_uint8_hwc"].numpy())
    sight = prompts.see(published["text_encoder"], published["processor"], picture, CPU)
    assert torch.equal(sight.grid, io["image_grid_thw"])
    assert difference(sight.features.pooler_output[0], io["vision_features"]) < 5e-5


def test_sizes_for_the_vision_encoder_are_the_published_ones() -> None:
    for case in document("preprocess/sizes.json")["cases"]:
        if case["vision_encoder_prepare"]:
            assert prompts.vision_size(case["width"], case["height"]) == tuple(case["vision_encoder_prepare"])


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((7680, 4320), (4760, 2688)), ((1, 1), (56, 56)), ((20, 20), (56, 56)), ((42, 70), (56, 56))],
)
def test_sizes_at_both_limits_of_the_vision_encoder(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert prompts.vision_size(*size) == wanted


def test_a_needle_of_a_picture_is_refused() -> None:
    pipe = tiny_pipeline()
    with pytest.raises(
        RestorerError, match="8000x16 is too narrow: the vision encoder takes aspect ratios up to 200"
    ):
        pipe.encode_prompt([Image.new("RGB", (8000, 16))], [""])


def test_a_prompt_cannot_smuggle_a_second_picture() -> None:
    pipe = tiny_pipeline()
    with pytest.raises(RestorerError, match=r"holds <\|image_pad\|>, which stands for the picture"):
        pipe.encode_prompt([Image.new("RGB", (64, 64))], ["see <|image_pad|>"])


@torch.no_grad()
def test_equal_pairs_are_read_once_and_each_picture_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe, calls = tiny_pipeline(), []
    for name in ("see", "read"):
        original = getattr(prompts, name)
        monkeypatch.setattr(prompts, name, lambda *a, o=original, n=name: calls.append(n) or o(*a))
    red, also_red, blue = (Image.new("RGB", (64, 48), colour) for colour in ("red", "red", "blue"))
    states, mask = pipe.encode_prompt([red, also_red, blue, red, blue], ["a", "a", "a", "b", "b"])
    assert calls.count("see") == 2 and calls.count("read") == 4
    assert states.shape == (5, 640, 32) and mask.shape == (5, 640)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2]) and not torch.equal(states[0], states[3])


@torch.no_grad()
def test_a_prompt_is_read_to_its_last_token_or_refused() -> None:
    pipe, picture = tiny_pipeline(), Image.new("RGB", (64, 48))
    sight = prompts.see(pipe.text_encoder, pipe.processor, picture, CPU)

    def excess(words: int) -> int:
        return prompts.token_ids(pipe.processor, "x" * words, sight).shape[1] - 217 - 640

    longest = next(words for words in range(2000) if excess(words) == 0)
    _, mask = pipe.encode_prompt([picture], ["x" * longest])
    assert mask.sum() == 640
    with pytest.raises(RestorerError, match=r"'xxx.*\.\.\.' is 1 tokens longer than RealRestorer reads"):
        pipe.encode_prompt([picture], ["x" * (longest + 1)])
