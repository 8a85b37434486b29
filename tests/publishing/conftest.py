"""A member of the local Hub who may publish to `org`, and clients that do not wait between attempts."""

import time
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi


@pytest.fixture
def api(hub, monkeypatch):
    hub.members.add("hf_member")
    hub.namespaces |= {"org", "elsewhere"}
    monkeypatch.setenv("HF_TOKEN", "hf_member")
    hasty = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", hasty)
    return HfApi()
