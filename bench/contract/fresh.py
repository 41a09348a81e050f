"""Facts about a backend that only a fresh process can tell, printed as JSON.

    python -m bench.contract.fresh MODULE:CLASS DEVICE FOLDER    (with the backend's environment)

Like the fork server: import the adapter, what it preloads, and what it needs to load any model;
then fork. The child uses the runtime.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.worker.started import Started

IDLE_S = 0.3
BUSY_S = 0.5


def main(reference: str, device_id: str, folder: str) -> None:
    module, _, name = reference.partition(":")
    watched = Watched()
    watched.importing([module])
    adapter = getattr(sys.modules[module], name)
    facts: dict[str, Any] = {
        "imported_with_the_adapter": [name for name in adapter.preload if name in sys.modules]
    }
    from bench.capabilities import declaration  # after the import of an adapter alone is judged

    watched.importing(adapter.preload)
    if adapter.fork_safe:  # else each worker imports these for itself, if they are there
        watched.importing(declaration(adapter).imports_to_load, needed=False)
    facts.update(watched.facts())
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(_use(adapter(), device_id, Path(folder))).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    answer = os.fdopen(reader).read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    facts["exit_code_of_fork"] = status
    facts.update(json.loads(answer) if answer else {})
    print(json.dumps(facts))


class Watched:
    """Imports, and for each module what it started that no child of a fork can use."""

    def __init__(self) -> None:
        self._threads: dict[str, int] = {}
        self._devices: dict[str, list[str]] = {}
        self._drivers: dict[str, list[str]] = {}

    def importing(self, modules: Iterable[str], needed: bool = True) -> None:
        for name in modules:
            before, drivers = Started.now(), _started_drivers()
            with contextlib.nullcontext() if needed else contextlib.suppress(Exception):
                importlib.import_module(name)
            after = Started.now()
            self._threads[name] = after.threads - before.threads
            self._devices[name] = sorted(after.devices - before.devices)
            self._drivers[name] = sorted(_started_drivers() - drivers)

    def facts(self) -> dict[str, Any]:
        """By module; those that started nothing are left out."""
        return {
            "threads_started_by": {name: n for name, n in self._threads.items() if n},
            "devices_opened_by": {name: paths for name, paths in self._devices.items() if paths},
            "drivers_started_by": {name: libs for name, libs in self._drivers.items() if libs},
        }


def _started_drivers() -> set[str]:
    """Libraries of NVIDIA's driver that are in use in this process, and what triton builds to use
    one: also where there is no device that they would open."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    paths = {Path(line.split(maxsplit=5)[5]) for line in lines if line.count("/") > 0}
    found = {path for path in paths if path.name.startswith(("libcuda.so", "cuda_utils"))}
    return {path.name for path in found if _is_started(path)}


def _is_started(library: Path) -> bool:
    """Whether a driver has been started in this process: a runtime's build for CUDA may map one,
    and leave it at that. What can't be asked counts as started."""
    try:
        current = ctypes.CDLL(str(library)).cuCtxGetCurrent
    except (OSError, AttributeError):
        return True
    # CUDA_SUCCESS, where a driver that was not started says CUDA_ERROR_NOT_INITIALIZED.
    return bool(current(ctypes.byref(ctypes.c_void_p())) == 0)


def _use(backend: Any, device_id: str, folder: Path) -> dict[str, Any]:
    from bench.backend import Options  # after the import of an adapter alone is judged
    from bench.contract.models import write_conv  # after it too

    conv = write_conv(folder)
    (device,) = [device for device in backend.devices() if device.id == device_id]
    batch = 64
    session = backend.compile(conv.file, device, Options(threads=1, shapes=conv.shapes(batch)))
    feeds = conv.feeds(batch, 0)
    call = session.bind(feeds)
    call()
    right = np.allclose(session.fetch()[0], conv.right(feeds)[0], rtol=1e-4, atol=1e-4)
    cpu_s, started = _cpu_s(), time.perf_counter()
    while time.perf_counter() - started < BUSY_S:
        call()
    busy = (_cpu_s() - cpu_s) / (time.perf_counter() - started)
    cpu_s = _cpu_s()
    time.sleep(IDLE_S)
    return {"right": bool(right), "busy_cores": busy, "idle_cores": (_cpu_s() - cpu_s) / IDLE_S}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
