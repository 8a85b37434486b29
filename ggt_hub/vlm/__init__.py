"""Vision-language models as judges of pictures: local, or behind any OpenAI-compatible server."""

from ggt_hub.vlm.asking import Asker, Question, Reply, Service
from ggt_hub.vlm.budget import Budget
from ggt_hub.vlm.chat import Chat, ServerChat
from ggt_hub.vlm.judge import Judge, Rating
from ggt_hub.vlm.ledger import Ledger, ledger_path
from ggt_hub.vlm.local import LocalChat
from ggt_hub.vlm.protocols import PROTOCOLS, Protocol
from ggt_hub.vlm.purses import purse_of

__all__ = [
    "PROTOCOLS",
    "Asker",
    "Budget",
    "Chat",
    "Judge",
    "Ledger",
    "LocalChat",
    "Protocol",
    "Question",
    "Rating",
    "Reply",
    "ServerChat",
    "Service",
    "ledger_path",
    "purse_of",
]
