"""Vision-language models as judges of pictures: local, or behind any OpenAI-compatible server."""

from ggt_hub.vlm.chat import Budget, Chat, ServerChat
from ggt_hub.vlm.judge import Judge, Rating
from ggt_hub.vlm.ledger import Ledger, ledger_path
from ggt_hub.vlm.local import LocalChat
from ggt_hub.vlm.protocols import PROTOCOLS, Protocol

__all__ = [
    "PROTOCOLS",
    "Budget",
    "Chat",
    "Judge",
    "Ledger",
    "LocalChat",
    "Protocol",
    "Rating",
    "ServerChat",
    "ledger_path",
]
