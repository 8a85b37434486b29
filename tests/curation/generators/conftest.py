"""What tests of batches need."""

from collections.abc import Iterator

import pytest

from tests.curation.ggt import Eyes
from tests.servers.image_editors import KEY
from tests.servers.openai_chat import ChatServer


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """Who diagnoses, and keys for those who draw."""
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with ChatServer(Eyes()) as server:
        yield server
