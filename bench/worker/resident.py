"""Memory of this process, as the kernel counts it."""

from __future__ import annotations

import os
import resource
import sys
from typing import Optional


def peak_rss_bytes() -> Optional[int]:
    """High-water mark of the resident set since this process started (or was forked)."""
    from_status = _status_field("VmHWM")
    if from_status is not None:
        return from_status
    # ru_maxrss is bytes on macOS, KiB elsewhere (getrusage(2)).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def current_rss_bytes() -> Optional[int]:
    """The resident set now; None where the system has no /proc."""
    return _status_field("VmRSS")


def reset_peak() -> None:
    """Start the high-water mark again (Linux, proc(5) clear_refs 5), where it is allowed.

    A forked worker inherits the pages of its parent and would count what the parent once held.
    """
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def _status_field(name: str) -> Optional[int]:
    try:
        with open(f"/proc/{os.getpid()}/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
