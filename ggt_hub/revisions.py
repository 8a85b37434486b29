"""The one table of revisions: what this version of the package loads where no revision is asked for.

`pip install ggt-hub==X` always gets the same bytes, since our own repositories are loaded at the tags that were
published with X. `hub.toml` states the same versions, and publishing refuses if the two disagree.
"""

NAMESPACE = "ggt-hub"
"""Where our own repositories live on the Hub."""

OURS: dict[tuple[str, str], str] = {
    ("dataset", f"{NAMESPACE}/ggt-100k"): "v0.1.0",
    ("model", f"{NAMESPACE}/compact"): "v0.1.0",
    ("model", f"{NAMESPACE}/realrestorer"): "v0.1.0",
    ("model", f"{NAMESPACE}/iqpir"): "v0.1.0",
    ("model", f"{NAMESPACE}/dreamclear"): "v0.1.0",
    ("space", f"{NAMESPACE}/psnr_ssim"): "v0.1.0",
    ("space", f"{NAMESPACE}/lpips_dists"): "v0.1.0",
    ("space", f"{NAMESPACE}/niqe"): "v0.1.0",
    ("space", f"{NAMESPACE}/fid_kid"): "v0.1.0",
    ("space", f"{NAMESPACE}/pyiqa_metric"): "v0.1.0",
    ("space", f"{NAMESPACE}/realir_fs"): "v0.1.0",
    ("space", f"{NAMESPACE}/restorer"): "v0.1.0",
    ("space", f"{NAMESPACE}/leaderboard"): "v0.1.0",
}
"""(kind, id) of a repository of ours -> its tag."""

THIRD_PARTY: dict[tuple[str, str], str | None] = {
    ("dataset", "VCLab-PolyU/GGT-100K"): None,
    ("dataset", "RealRestorer/RealIR-Bench"): None,
    ("model", "RealRestorer/RealRestorer"): None,
    ("model", "shallowdream204/DreamClear"): None,
}
"""(kind, id) of somebody else's repository -> the commit (40 hex digits) to load; None while it is not known."""


def pinned(repo_id: str, repo_type: str) -> str | None:
    """The revision of a repository that belongs to this version of the package; None where there is none.

    Args:
        repo_id: `namespace/name`.
        repo_type: `model`, `dataset` or `space`.
    """
    return OURS.get((repo_type, repo_id)) or THIRD_PARTY.get((repo_type, repo_id))
