"""Write RealIR-Bench in the pair schema, for one's own use.

python dataset_scripts/realir-bench/build.py OUTPUT [REVISION]
"""

import sys
from pathlib import Path

from ggt_hub import load_dataset
from ggt_hub.data.work.export import export


def main(output: str, revision: str | None = None) -> None:
    """Export the benchmark at a revision into the folder `output`, with the card that lies beside this script."""
    card = Path(__file__).with_name("README.md")
    export(load_dataset("realir-bench", revision=revision), Path(output), card=card)


if __name__ == "__main__":
    main(*sys.argv[1:])
