"""Build the index of GGT-100K, ready to be uploaded as it is.

python dataset_scripts/ggt-100k/build.py OUTPUT [REVISION]
"""

import sys
from pathlib import Path

from ggt_hub.data.work.indexing import make_index


def main(output: str, revision: str | None = None) -> None:
    """Index the dataset at a revision into the folder `output`, with the card that lies beside this script."""
    card = Path(__file__).with_name("README.md")
    make_index("ggt-100k", Path(output), revision=revision, card=card)


if __name__ == "__main__":
    main(*sys.argv[1:])
