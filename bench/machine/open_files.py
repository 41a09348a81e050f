"""Files of the kernel that are kept open and read again and again, within the process's limit.

A watcher keeps one for each thread of a worker, so those of a large machine's runtimes alone are
more than the 1024 that a process may usually open. Standard library alone and Python 3.9, as what
uses it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

LARGEST_READ = 1 << 16
#: Numbers of open files below this share of the limit are kept for reading again; the others are
#: for all else that a run opens. Our choice.
KEPT_SHARE = 0.5
#: Files that a run may have open: one for each of some hundred threads of some hundred workers. Our
#: choice; where the system allows 10^9, as in containers, programs that close all that they might
#: have inherited would take minutes to start.
_ENOUGH = 65_536
#: What macOS allows at most where its hard limit says "unlimited": OPEN_MAX of <sys/syslimits.h>.
_OPEN_MAX = 10_240


@contextlib.contextmanager
def raised_limit() -> Iterator[None]:
    """Let this process open as many files as a run needs and the system allows, and in the end as
    many as before."""
    try:
        import resource  # resource: not on Windows
    except ImportError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    enough = _ENOUGH if hard == unlimited else min(hard, _ENOUGH)
    if soft == unlimited or soft >= enough:
        yield
        return
    for most in (enough, min(enough, _OPEN_MAX)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            break
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limit() -> float:
    """How many files this process may have open."""
    try:
        import resource  # resource: not on Windows
    except ImportError:
        return float("inf")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft


@dataclass
class OpenFiles:
    """Files of the kernel, opened once, where the limit allows, and read from their beginning at
    each call."""

    descriptors: dict[str, int | None] = field(default_factory=dict)
    most: float = field(default_factory=lambda: KEPT_SHARE * limit())
    #: whether a file could not be read because no more can be opened: what it tells is unknown
    refused: bool = False

    def read(self, path: str) -> bytes | None:
        """The text now, or None: no such file, no permission, or its process is gone."""
        if path not in self.descriptors:
            return self._first(path)
        descriptor = self.descriptors[path]
        return None if descriptor is None else _text(descriptor)

    def _first(self, path: str) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.refused = True
            else:
                self.descriptors[path] = None
            return None
        # The system gives the lowest number that is free.
        if descriptor < self.most:
            self.descriptors[path] = descriptor
            return _text(descriptor)
        try:
            return _text(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close them all. Calling it twice does nothing."""
        while self.descriptors:
            _, descriptor = self.descriptors.popitem()
            if descriptor is not None:
                os.close(descriptor)


def _text(descriptor: int) -> bytes | None:
    try:
        return os.pread(descriptor, LARGEST_READ, 0)
    except OSError:
        return None
