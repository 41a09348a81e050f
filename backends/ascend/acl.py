"""Huawei's module ``acl`` (pyACL) with every return code checked, and how its errors read.

pyACL has four shapes of return values (pyACL API reference): ``ret``; ``(value, ret)``;
``(a, b, ret)``; and a bare value, of which a handle of 0 means failure. `Acl` has a method for
each.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any, Callable, Optional

from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable

from ..shared.checks import first_line
from ..shared.huawei import driver_trouble

SETUP = "source /usr/local/Ascend/ascend-toolkit/set_env.sh"
#: A second `acl.init` in a process: someone else (torch_npu) owns pyACL there.
REPEATED_INIT = 100002

_MEANINGS = {
    100000: "invalid parameter",
    100001: "not initialised",
    100011: "invalid model id",
    107000: "invalid parameter",
    107001: "no such device id",
    107002: "no context in this thread",
    107003: "the stream belongs to another context",
    107004: "the model belongs to another context",
    107019: "waiting timed out",
    145013: "no such gear",
    200000: "out of memory",
    207001: "out of memory",
    207004: "no device",
    207006: "no permission",
    207008: "no stream left",
    507006: "the event is not complete",
    507008: "wrong SoC version",
    507010: "the device lost its heartbeat",
    507011: "the model failed while it ran",
    507014: "an AI Core timed out",
    507015: "an AI Core raised an exception",
    507033: "the device can't be opened",
    507899: "an error inside the driver",
}
_FAMILIES = {
    1: "incorrect use",
    2: "a resource is missing",
    3: "business error",
    5: "internal error",
}
_OUT_OF_MEMORY = (200000, 207001)
_ABSENT = {
    107001: "`npu-smi info` lists the devices; ASCEND_RT_VISIBLE_DEVICES may hide some.",
    207004: "`npu-smi info` must list one; a container needs its /dev/davinci* passed in.",
    207006: "Add the user to the driver's group: usermod -aG HwHiAiUser USER.",
    507033: "Check that `npu-smi info` shows it healthy, that no other container holds it, and "
    "that this CANN supports the driver and firmware versions.",
}
#: As the runtime words it when it loads a model (EE1001).
_OTHER_SOC = re.compile(r"supported socVersion\s*=\s*(\w+).*?model socVersion\s*=\s*(\w+)", re.S)


class Acl:
    """The module, checked. ``where`` begins the message of every error."""

    def __init__(self, module: ModuleType, where: str = "ascend") -> None:
        self.module = module
        self.where = where

    def at(self, where: str) -> Acl:
        """The same, on behalf of something else."""
        return Acl(self.module, where)

    def function(self, name: str) -> Callable[..., Any]:
        """``acl.rt.malloc`` for ``rt.malloc``; for the hot path, which checks codes itself."""
        found: Any = self.module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            raise Unavailable(
                f"{self.where}: this pyACL has no acl.{name}.",
                "Install a CANN toolkit of version 6 or later.",
            )
        function: Callable[..., Any] = found
        return function

    def do(self, name: str, *arguments: Any) -> None:
        """Call what returns ``ret`` alone."""
        self.check(name, self.function(name)(*arguments))

    def get(self, name: str, *arguments: Any) -> Any:
        """Call what returns ``(value, ret)``; the value."""
        value, code = self.function(name)(*arguments)
        self.check(name, code)
        return value

    def pair(self, name: str, *arguments: Any) -> tuple[Any, Any]:
        """Call what returns ``(a, b, ret)``; the two."""
        first, second, code = self.function(name)(*arguments)
        self.check(name, code)
        return first, second

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call what returns a bare value that says nothing of errors."""
        return self.function(name)(*arguments)

    def handle(self, name: str, *arguments: Any) -> int:
        """Call what returns a bare handle, which is not 0."""
        made = self.function(name)(*arguments)
        if not made:
            raise BenchError(f"{self.where}: acl.{name} returned nothing{self._recent()}.")
        return int(made)

    def check(self, name: str, code: int) -> None:
        if code != 0:
            raise self.error(name, code)

    def error(self, name: str, code: int) -> BenchError:
        """What a return code means, with the runtime's most recent message."""
        recent = self.recent()
        other = _OTHER_SOC.search(recent)
        if other:
            return SpecError(
                f"{self.where}: the model is compiled for {other[2]}, but the device is a "
                f"{other[1]} ({code}): leave out ?soc=, or give ?soc={other[1]}."
            )
        meaning = _MEANINGS.get(code) or _FAMILIES.get(code // 100000, "unknown")
        tail = f": {brief(recent)}" if recent else ""
        text = f"{self.where}: acl.{name} failed with {code} ({meaning}){tail}."
        if code in _OUT_OF_MEMORY:
            return OutOfMemory(f"{text} Use a smaller batch or model.")
        if code in _ABSENT:
            return Unavailable(text, _ABSENT[code])
        return BenchError(text)

    def recent(self) -> str:
        """The runtime's message about this thread's last error, whole; reading it clears it."""
        return str(self.ask("get_recent_err_msg") or "")

    def _recent(self) -> str:
        text = brief(self.recent())
        return f": {text}" if text else ""


def brief(text: str, limit: int = 300) -> str:
    """The part of CANN's message that says what happened, on one line: without the process id and
    time, and what follows from ``Solution:`` or ``TraceBack`` on."""
    head = re.split(r"\bSolution:|\bTraceBack\b", text)[0]
    head = re.sub(r"\[PID:? ?\d+\]\s*|\d{4}-\d\d-\d\d-[\d:.]+\s*", "", head)
    return " ".join(head.split())[:limit].rstrip(". ")


def import_acl() -> Acl:
    """The module. Raises `Unavailable` that says what is missing."""
    try:
        import acl
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"ascend is not available: {first_line(error)} (Huawei's pyACL, not on any package "
            "index).",
            f"Install the CANN toolkit, then `{SETUP}`.{_no_driver()}",
        ) from error
    except ImportError as error:
        raise Unavailable(
            f"ascend is not available: {first_line(error)}.", _library(error)
        ) from error
    if not (hasattr(acl, "rt") and hasattr(acl, "mdl")):
        raise Unavailable(
            "ascend is not available: the module acl that Python imports is not Huawei's pyACL.",
            f"Uninstall the package that provides it, or put pyACL before it: `{SETUP}`.",
        )
    return Acl(acl)


def _library(error: ImportError) -> str:
    """How to get the shared library that an import missed."""
    if re.search(r"libascend_hal|libdrv|libdcmi|libmmpa", str(error)):
        return f"That library comes with the NPU driver: install it.{_no_driver()}"
    return f"That library comes with CANN: `{SETUP}`, or install the toolkit.{_no_driver()}"


def _no_driver() -> str:
    reason = driver_trouble()
    return f" Besides, {reason}" if reason else ""


class Held:
    """What was acquired, to be given back in reverse order, each once, whatever fails."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def keep(self, undo: Callable[..., None], *arguments: Any) -> None:
        self._undo.append(lambda: undo(*arguments))

    @property
    def empty(self) -> bool:
        return not self._undo

    def absorb(self, other: Held) -> None:
        """Take over what ``other`` holds."""
        self._undo += other._undo
        other._undo = []

    def release(self) -> Optional[BenchError]:
        """Give everything back; the first error on the way, which stops nothing."""
        first: Optional[BenchError] = None
        while self._undo:
            try:
                self._undo.pop()()
            except BenchError as error:
                first = first or error
        return first

    def close(self) -> None:
        """`release`, and raise what went wrong."""
        error = self.release()
        if error is not None:
            raise error
