"""Which version of the data, and of the code that makes rows of it: both are part of what caches are named by."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from ggt_hub import data, hub, tasks
from ggt_hub.data.storage.trees import local_tree
from ggt_hub.errors import DatasetError


@cache
def code_hash() -> str:
    """A digest of the source of `ggt_hub.data` and of the vocabulary of tasks."""
    files = [*sorted(Path(data.__file__).parent.rglob("*.py")), Path(tasks.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def with_version(name: str, repository: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Complete the arguments of a builder: `revision` becomes a commit, `hash` the version of the code.

    Args:
        name: what the data set is called, unless the arguments name it.
        repository: the dataset repository, unless the arguments name another.
        given: what the builder was called with. With a `data_dir` the revision is a digest of what is in it.

    Raises:
        DatasetError: if neither repository nor folder is known, or a revision of a folder is asked for.
        HubError: if the revision cannot be had.
    """
    given = {name: value for name, value in given.items() if value is not None}
    data_dir, repository = given.get("data_dir"), given.get("repository", repository)
    if data_dir is not None:
        if "revision" in given:
            raise DatasetError(f"the copy in {data_dir} has no revisions: leave out revision= or data_dir=")
        version = local_tree(data_dir).version
    elif repository is not None:
        version = hub.resolve(
            repository, repo_type="dataset", revision=given.get("revision"), token=given.get("token")
        )
    else:
        raise DatasetError("give the folder that holds the pairs by data_dir=")
    return {"hash": code_hash(), "dataset_name": name} | given | {"revision": version}
