"""Facts about a backend that only a fresh process can tell, printed as JSON.

    python -m bench.contract.fresh MODULE:CLASS DEVICE FOLDER    (with the backend's environment)

Like the fork server: import what the backend preloads, then fork; the child uses the runtime.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

IDLE_S = 0.3
BUSY_S = 0.5


def main(reference: str, device_id: str, folder: str) -> None:
    module, _, name = reference.partition(":")
    adapter = getattr(importlib.import_module(module), name)
    facts: dict[str, Any] = {
        "imported_with_the_adapter": [name for name in adapter.preload if name in sys.modules]
    }
    before = _threads()
    # The build of a runtime for CUDA may map the driver's library, and start nothing in it.
    for preload in adapter.preload[:1]:
        importlib.import_module(preload)
    mapped = _mapped_drivers()
    for preload in adapter.preload:
        importlib.import_module(preload)
    facts["drivers_mapped_by_more"] = sorted(_mapped_drivers() - mapped)
    facts["threads_started_by_preload"] = _threads() - before
    facts["devices_opened_by_preload"] = sorted(_opened_devices())
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


def _opened_devices() -> set[str]:
    """Devices that a driver was started for: what is forked later can't use it. (A library of the
    driver that is merely mapped, as torch's build for CUDA maps one, does no harm.)"""
    opened = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            opened.add(os.readlink(link))
        except OSError:  # the listing's own
            continue
    return {path for path in opened if path.startswith(("/dev/nvidia", "/dev/davinci", "/dev/kfd"))}


def _mapped_drivers() -> set[str]:
    """Libraries of NVIDIA's driver, and what triton builds to talk to it, in this process."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    names = {Path(line.split(maxsplit=5)[5]).name for line in lines if line.count("/") > 0}
    return {name for name in names if name.startswith(("libcuda.so", "libnvidia-", "cuda_utils"))}


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


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 1


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
