"""The one tree of errors that `bench` raises on purpose.

Each message says what happened, where, and what to do next. A worker in any interpreter raises
these too, so this module needs the standard library alone (Python 3.9 and later). Across the
process boundary an error travels as its ``kind`` and its message; `from_kind` makes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar


class BenchError(Exception):
    """Something that a user can understand and correct."""

    kind: ClassVar[str] = "error"

    #: the last lines that the worker's runtime printed, where a worker is involved; the end of a
    #: traceback where code of the user's raised an error
    log_tail: str = ""


class SpecError(BenchError):
    """What was asked for is wrong: a suite, a card, a flag, a file."""

    kind = "spec"


class Unavailable(BenchError):
    """A runtime or device is absent. ``remedy`` says how to get it."""

    kind = "unavailable"

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason} {remedy}".strip() if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class NotInBuild(Unavailable):
    """This build of a runtime is not for that kind of device; another build would be."""


class Unsupported(BenchError):
    """The runtime is there but can't do this: an operator, a precision, a scenario."""

    kind = "unsupported"


class ExportFailed(BenchError):
    """A model could not be exported, or the exported one computes something else."""

    kind = "export-failed"


class AccuracyFailed(BenchError):
    """Outputs could not be scored, or differ from the reference beyond the tolerance."""

    kind = "accuracy-failed"


class ModelChanged(BenchError):
    """A model's files are no longer those that the run began with."""

    kind = "model-changed"


class WorkerCrashed(BenchError):
    """The process that measured a cell died or raised an error of its own."""

    kind = "crashed"


class WorkerTimeout(BenchError):
    """The process that measured a cell did not answer in time and was killed."""

    kind = "timeout"


class OutOfMemory(BenchError):
    """The host or the device had too little memory for this cell."""

    kind = "out-of-memory"


class NodeLost(BenchError):
    """No machine of a fleet could measure this: those that could are gone, or failed at it."""

    kind = "node-lost"


_BY_KIND = {
    cls.kind: cls
    for cls in (
        SpecError,
        Unavailable,
        Unsupported,
        ExportFailed,
        AccuracyFailed,
        ModelChanged,
        WorkerCrashed,
        WorkerTimeout,
        OutOfMemory,
        NodeLost,
    )
}


def from_kind(kind: str, message: str) -> BenchError:
    """Make the error that another process described; an unknown kind is a plain `BenchError`."""
    return _BY_KIND.get(kind, BenchError)(message)


_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


def every(find: Callable[[_Item], _Found], items: Iterable[_Item]) -> list[_Found]:
    """What ``find`` makes of each item. Raises one `SpecError` with what is wrong with all of them,
    so that nobody has to correct and try again once for each."""
    found: list[_Found] = []
    wrong: list[SpecError] = []
    for item in items:
        try:
            found.append(find(item))
        except SpecError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise SpecError(listed(map(str, wrong)))
    return found


def listed(complaints: Iterable[str]) -> str:
    """Several complaints in one line, each once."""
    return " Also: ".join(dict.fromkeys(complaints))


_Error = TypeVar("_Error", bound=BenchError)
_LONGEST_VALUE = 60  #: characters of a value that an error quotes
#: Characters of the end of a traceback that are kept: its last frames, and what was said.
_MOST_TRACE = 4000


def with_trace(error: _Error, cause: BaseException) -> _Error:
    """``error`` with the traceback of ``cause``, which somebody else's code raised."""
    import traceback  # start-up: errors alone

    lines = traceback.format_exception(type(cause), cause, cause.__traceback__)
    error.log_tail = "".join(lines)[-_MOST_TRACE:]
    return error


def as_given(value: object) -> str:
    """A value as code writes it, on one line and cut where it is long."""
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[: _LONGEST_VALUE - 3]}..."


def without_stop(text: str) -> str:
    """A message without its full stop, to be said inside a sentence; all other dots are part of
    what it quotes, as in ``../..``."""
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def as_sentence(text: str) -> str:
    """A message with a full stop, unless it ends like a sentence already."""
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


#: How runtimes word an allocation that failed, in lower case: cuBLAS, cuDNN and cuSOLVER by their
#: code (``CUBLAS_STATUS_ALLOC_FAILED``), drivers by theirs (``CUDA_ERROR_OUT_OF_MEMORY``,
#: ``ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY``, ``hipErrorOutOfMemory``), TensorRT
#: as ``OutOfMemory``, ONNX Runtime's arena ("Available memory of 16 is
#: smaller than requested bytes of 32") and OpenVINO's GPU plugin in words of their own.
_MEMORY_WORDS = (
    "bad_alloc",
    "out of memory",
    "out_of_memory",
    "outofmemory",
    "out_of_device_memory",
    "out_of_host_memory",
    "failed to allocate",
    "not enough memory",
    "allocate memory",
    "alloc_failed",
    "is smaller than requested bytes",
    "exceeded max size of memory object allocation",
)


def says_out_of_memory(text: str) -> bool:
    """Whether the words of a runtime, or of a log, say that memory ran out."""
    lowered = text.lower()
    return any(words in lowered for words in _MEMORY_WORDS)


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, without its full stop; its kind where none
    does."""
    lines = (line.strip() for line in str(error).splitlines())
    return without_stop(next(filter(None, lines), type(error).__name__))


def kind_and_line(error: BaseException) -> str:
    """``RuntimeError: what happened``, without a full stop."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
