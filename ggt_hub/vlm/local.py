"""Asking a vision-language model that runs here, through transformers."""

import io
import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ggt_hub.errors import HubError, JudgeError
from ggt_hub.files import fingerprint
from ggt_hub.hub import resolve
from ggt_hub.vlm.asking import Question, Reply, Turn
from ggt_hub.vlm.protocols import MAX_NEW_TOKENS, MODEL


class LocalChat:
    """A model such as Qwen3-VL on this machine; loaded at the first question. Nothing of it is billed."""

    budget = None
    max_retries = 0
    per_minute = None

    def __init__(
        self,
        source: str | Path = MODEL,
        *,
        revision: str | None = None,
        device: str | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0,
    ) -> None:
        """Name a model.

        Args:
            source: a folder or an id on the Hub.
            revision: branch, tag or commit on the Hub.
            device: None takes the GPU where there is one.
            max_new_tokens: the longest reply.
            temperature: of sampling; at 0 replies are decoded greedily.
        """
        self._source = str(source)
        self.model = Path(source).name if Path(source).is_dir() else self._source
        self.endpoint = None
        self._asked, self._device = revision, device
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self._lock = threading.Lock()  # one question at a time

    @cached_property
    def revision(self) -> str:
        """The commit on the Hub, or a hash of the folder's files.

        Raises:
            JudgeError: if the model is neither a folder, nor on the Hub at the revision asked for.
        """
        folder = Path(self._source)
        if folder.is_dir():
            return fingerprint(folder)
        try:
            return resolve(self._source, revision=self._asked)
        except HubError as error:
            raise JudgeError(f"the judge {self.model} cannot be loaded: {error}") from error

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        return {"temperature": self._temperature, "max_tokens": self._max_new_tokens}

    def check(self) -> None:
        """Find the model, which is not loaded yet.

        Raises:
            JudgeError: if it is neither a folder, nor on the Hub at the revision asked for.
        """
        _ = self.revision

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The model's reply; arguments as those of `ServerChat.ask`.

        Raises:
            JudgeError: if the model cannot be loaded.
        """
        return self.send(Question(question, system, (image_png,), tuple(later))).text

    def send(self, question: Question) -> Reply:
        """The reply; sampled ones are drawn from torch's generator.

        Raises:
            JudgeError: if the model cannot be loaded.
        """
        import torch

        with self._lock, torch.inference_mode():
            model, processor = self._load()
            pictures = [
                {"type": "image", "image": Image.open(io.BytesIO(data))} for data in question.pictures
            ]
            conversation = [
                *([{"role": "system", "content": [_text(question.system)]}] if question.system else []),
                {"role": "user", "content": [*pictures, _text(question.text)]},
                *({"role": role, "content": [_text(text)]} for role, text in question.later),
            ]
            inputs = processor.apply_chat_template(
                conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            ).to(model.device)
            sampling = {"do_sample": True, "temperature": self._temperature} if self._temperature else {}
            tokens = model.generate(
                **inputs, max_new_tokens=self._max_new_tokens, **({"do_sample": False} | sampling)
            )
        text = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        return Reply(text)

    def _load(self) -> tuple[Any, Any]:
        import torch

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return _loaded(self._source, None if Path(self._source).is_dir() else self.revision, device)
        except (OSError, ValueError, ImportError) as error:
            raise JudgeError(f"the judge {self.model} cannot be loaded: {error}") from error


@lru_cache(1)  # chats that differ in their parameters share a model
def _loaded(source: str, revision: str | None, device: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    where = {} if revision is None else {"revision": revision}
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, **where)
    return model.to(device).eval(), AutoProcessor.from_pretrained(source, **where)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
