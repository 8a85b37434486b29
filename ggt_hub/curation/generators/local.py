"""Restorers that take instructions, on this machine: nothing is billed."""

import io
import threading
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from ggt_hub import __version__
from ggt_hub.curation.generators.canvas import Size
from ggt_hub.errors import GGTHubError, JudgeError
from ggt_hub.files import fingerprint
from ggt_hub.hub import resolve
from ggt_hub.pipelines import RestorerPipeline
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline
from ggt_hub.vlm import Question, Reply


class LocalEditor:
    """A restorer of ours, or an editor of diffusers, that restores by instruction."""

    max_retries = 0
    per_minute = None
    budget = None
    endpoint = None

    def __init__(
        self,
        model: str,
        *,
        weights: str | None = None,
        lora: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Name it; its networks are read with the first question.

        Args:
            model: a folder or an id on the Hub, ID or ID@REVISION.
            weights: a file of a denoiser to take in place of RealRestorer's, such as that of Step1X-Edit, which has
                its architecture.
            lora: a folder, file or id on the Hub of LoRA weights.
            options: of its call.
        """
        self._source, _, asked = model.partition("@")
        self.model = Path(self._source).name if Path(self._source).is_dir() else self._source
        self._asked, self._options = asked or None, dict(options or {})
        self._weights, self._lora = weights, lora
        self._lock = threading.Lock()  # one question at a time

    @cached_property
    def revision(self) -> str:
        """The commit on the Hub, or a hash of the folder's files; of what ships the version of this package.

        Raises:
            JudgeError: if it is neither a folder, nor on the Hub at the revision asked for.
        """
        return "+".join([self._base, *(fingerprint(Path(one)) for one in self._files)])

    @property
    def _files(self) -> list[str]:
        """What is read besides, and lies here."""
        return [one for one in (self._weights, self._lora) if one is not None and Path(one).exists()]

    @cached_property
    def _base(self) -> str:
        folder = Path(self._source)
        if not folder.exists() and "/" not in self._source:
            return __version__
        try:
            return fingerprint(folder) if folder.is_dir() else resolve(self._source, revision=self._asked)
        except GGTHubError as error:
            raise JudgeError(f"the generator {self.model} cannot be loaded: {error}") from error

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        return self._options | ({"lora": self._lora} if self._lora else {})

    def canvas(self, size: Size) -> Size:
        """Restorers give the size that they are given."""
        return size

    def check(self) -> None:
        """Load it, and refuse one that takes no instruction.

        Raises:
            JudgeError: if it cannot be loaded, or takes none.
        """
        pipe = self._pipe
        if not pipe.description.takes_prompt:
            raise JudgeError(f"{self.model} is a {type(pipe).__name__}, which takes no instruction")

    def send(self, question: Question) -> Reply:
        """The picture, as PNG; drawn from a seed of the question and its number."""
        told = f"{question.text}|{question.number}|{sha256(question.pictures[0]).hexdigest()}"
        seed = int.from_bytes(sha256(told.encode()).digest()[:8], "big") >> 1
        with self._lock:
            drawn = self._pipe(
                question.pictures[0],
                prompt=question.text,
                generator=torch.Generator().manual_seed(seed),
                **self._options,
            ).images[0]
        drawn.save(buffer := io.BytesIO(), "PNG", compress_level=1)
        return Reply(pictures=(buffer.getvalue(),))

    @cached_property
    def _pipe(self) -> Any:
        is_of_the_hub = not Path(self._source).exists() and "/" in self._source
        told: dict[str, Any] = {"revision": self._base} if is_of_the_hub else {}
        is_accelerated = torch.accelerator.is_available()
        told["dtype"] = torch.bfloat16 if is_accelerated else torch.float32
        try:
            if self._weights is not None:
                pipe = RealRestorerPipeline.from_single_file(self._weights, config=self._source, **told)
            else:
                pipe = RestorerPipeline.from_pretrained(self._source, **told)
            if self._lora is not None:
                pipe.load_lora_weights(self._lora)
        except (GGTHubError, OSError, ValueError, AttributeError) as error:
            raise JudgeError(f"the generator {self.model} cannot be loaded: {error}") from error
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(torch.accelerator.current_accelerator()) if is_accelerated else pipe
