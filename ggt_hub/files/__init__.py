"""Many pictures in, many out: what lies in people's folders, what results are called, whose a file is."""

from ggt_hub.files.batch import Batch, Outcome, Work, process
from ggt_hub.files.fingerprint import fingerprint
from ggt_hub.files.folders import is_junk, list_pictures
from ggt_hub.files.jobs import Inputs, Job, check_output, find_jobs, seed_of
from ggt_hub.files.names import match_names, output_name

__all__ = [
    "Batch",
    "Inputs",
    "Job",
    "Outcome",
    "Work",
    "check_output",
    "find_jobs",
    "fingerprint",
    "is_junk",
    "list_pictures",
    "match_names",
    "output_name",
    "process",
    "seed_of",
]
