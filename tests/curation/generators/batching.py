"""A run that asks in batches."""

import sqlite3
from contextlib import closing

from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.generators import accept_terms
from ggt_hub.curation.run import run
from ggt_hub.vlm import Ledger, purse_of
from tests.curation.ggt import write_configuration, write_photographs

NAMES = {
    "google": "provider: google, model: gemini-nano-banana-2.1",
    "openai": "provider: openai, model: gpt-image-2",
}
COSTS = {
    "google": (1300 * 1.5 + 100 * 7.5 + 1120 * 30) / 2e6,
    "openai": (1000 * 8 + 200 * 5 + 2000 * 30) / 2e6,
}


class Place:
    """A run of three photographs, two candidates each, with fixed instructions: nobody else is asked."""

    def __init__(self, folder, maker, provider="google"):
        text = write_configuration(folder, "http://127.0.0.1:9/v1", maker.root).read_text()
        text = text.replace(
            "  - diagnose\n  - compose-adaptive\n", "  - diagnose: {category: rain}\n  - compose\n"
        )
        if provider == "openai":
            text = text.replace(NAMES["google"], NAMES["openai"])
            text = text.replace(f"url: {maker.root}", f"url: {maker.root}/v1")
        self.path, self.text = folder / "ggt.yaml", text
        self.photographs = write_photographs(folder / "photographs", 3)
        self.output, self.ledger = folder / "out", Ledger(folder / "ledger.sqlite")
        accept_terms(self.ledger, provider)

    def run(self, eyes, **more):
        self.path.write_text(self.text.replace("http://127.0.0.1:9/v1", eyes.url))
        configuration = load_configuration(self.path)
        askers = open_askers(configuration, self.output, self.ledger, **more)
        return {one.stage: one for one in run(configuration, str(self.photographs), self.output, askers)}

    def bills(self):
        return {
            one.state: (one.requests, one.cost)
            for one in self.ledger.bill(purse_of(self.output, self.ledger))
            if one.model != "eyes"
        }


def age(ledger, seconds):
    """Let what was written down of batches be so old."""
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute(f"UPDATE batches SET at = datetime('now', '-{seconds} seconds')")
