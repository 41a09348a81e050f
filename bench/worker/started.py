"""What a process has started that no child of a fork can use."""

from __future__ import annotations

import contextlib
import os
from typing import FrozenSet, List, NamedTuple

#: Files of accelerators' drivers: NVIDIA's, Huawei's, AMD's, and what the kernel has for others.
_DEVICES = ("/dev/nvidia", "/dev/davinci", "/dev/kfd", "/dev/dri/", "/dev/accel")


class Started(NamedTuple):
    """Threads would be missing in a child, and a driver refuses it ("Cannot re-initialize CUDA in
    forked subprocess", seen on an H200 behind an import of inductor with triton). A library of a
    driver that is merely mapped, as torch's build for CUDA maps one, does no harm."""

    threads: int  #: 0 where the system doesn't tell
    devices: FrozenSet[str]  #: that were opened

    @classmethod
    def now(cls) -> Started:
        """As it is at this moment."""
        threads = len(_listed("/proc/self/task"))
        opened = []
        for number in _listed("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the listing's own
                opened.append(os.readlink(f"/proc/self/fd/{number}"))
        return cls(threads, frozenset(path for path in opened if path.startswith(_DEVICES)))


def _listed(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
