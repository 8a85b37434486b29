"""Every error that ggt-hub raises on purpose. A message names the thing, the reason and the next step."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """What to add to a message about a name that is not known: the known one that it resembles, if there is one."""
    near = get_close_matches(str(word), list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class GGTHubError(Exception):
    """Base of all errors of ggt-hub."""


class WriteError(GGTHubError, OSError):
    """A file or folder could not be written: which one, and why."""


class BusyError(GGTHubError, RuntimeError):
    """Another process is at the same work: which, and what to do."""


class ImageError(GGTHubError, ValueError):
    """A picture could not be read or written: which one, and why."""


class TaskError(GGTHubError, ValueError):
    """A task name that the vocabulary, or the model at hand, does not know."""


class RestorerError(GGTHubError, ValueError):
    """A restorer cannot be loaded, or was called with something it does not support."""


class TooLittleMemoryError(RestorerError):
    """A restorer does not fit into the memory of a device, however it is placed."""


class DegradationError(GGTHubError, ValueError):
    """A degradation, preset or recipe that does not exist or cannot be applied."""


class MetricError(GGTHubError, ValueError):
    """A metric that does not exist, or was given pictures it cannot score."""


class MetricUnavailableError(MetricError):
    """A metric whose weights or library are not here and cannot be had."""


class JudgeError(GGTHubError, RuntimeError):
    """A vision-language model that cannot be reached or paid, or whose answer cannot be used."""


class QuestionRefusedError(JudgeError):
    """A judge's server does not take this question (a filter, a limit), or its reply is none; it may take others.

    Attributes:
        content: the reply as it came, where there was one.
    """

    def __init__(self, message: str, content: str | None = None) -> None:
        super().__init__(message)
        self.content = content


class PossiblyBilledError(QuestionRefusedError):
    """A question was sent and no reply came: it may have been billed, so it is not asked again by itself."""


class ModelClosedError(JudgeError):
    """A model is asked nothing for a time, for its quota is used up; others may be."""


class RejectedError(JudgeError):
    """A server did not take a question, which so was not billed.

    Attributes:
        passes: whether it may take it later.
        wait: seconds after which it says that it will; None where it does not say.
    """

    def __init__(self, message: str, *, passes: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.passes, self.wait = passes, wait


class EvaluationError(GGTHubError, ValueError):
    """A suite, a run or results that do not exist or do not belong together."""


class HubError(GGTHubError, OSError):
    """A repository, revision or file could not be had from the Hub or the local cache."""


class TrainingError(GGTHubError, ValueError):
    """A training recipe or checkpoint that cannot be used."""


class DatasetError(GGTHubError, ValueError):
    """Data that cannot be read, paired, loaded or written as asked: which, and why."""


class CurationError(GGTHubError, ValueError):
    """A configuration or folder of a curation run that cannot be used: which, and why."""


class NothingLeftError(CurationError):
    """A run of which earlier stages have dropped all rows before one that needs some."""


class DemoError(GGTHubError, ValueError):
    """Something that a visitor of the demo asked for cannot be done: what, and what to do instead."""


class PublishError(GGTHubError, ValueError):
    """Something cannot be published, or came back from the Hub other than it was sent."""
