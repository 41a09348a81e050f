"""What Ray changes in the processes that it starts, and how a child of one gets rid of it.

A worker of Ray has other variables than the shell that `ray start` ran in, a niceness of 15 more,
the CPUs of whoever pinned it, SIGINT blocked, and is the first that the kernel kills when memory is
short. Measured would be all that. So what measures starts with the raylet's environment without
Ray's own part of it, and with the raylet's CPUs, niceness and place among those to be killed.

This module travels to the nodes by value, so it needs the standard library alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

#: How the variables begin that Ray reads and sets.
_PREFIX = "RAY_"
#: Set by Ray for all its workers (ray/_private/services.py, setproctitle's).
_OURS = ("SPT_NOENV",)
#: Where Ray's own libraries lie: it preloads its allocator into the raylet where the user preloads
#: nothing (ray/_private/services.py, `propagate_jemalloc_env_var`).
_RAY_LIBRARIES = "/ray/core/"
#: The raylet of a worker (src/ray/raylet/worker_pool.cc).
RAYLET_PID = "RAY_RAYLET_PID"
#: The exit code of a process that could not get rid of what Ray changed.
NOT_SETTLED = 97

#: Runs in the interpreter used for measuring, before anything else does, and becomes the command.
_SETTLE = f"""
import json, os, signal, sys
wanted = json.loads(sys.argv[1])
signal.pthread_sigmask(signal.SIG_SETMASK, [])
try:
    if wanted["cpus"]:
        os.sched_setaffinity(0, wanted["cpus"])
    if os.getpriority(os.PRIO_PROCESS, 0) != wanted["nice"]:
        os.setpriority(os.PRIO_PROCESS, 0, wanted["nice"])
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit({NOT_SETTLED})
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(wanted["oom_score_adj"]))
except OSError:
    pass
os.execv(sys.argv[2], sys.argv[2:])
"""


def raylet_pid() -> int:
    """The raylet that started this worker."""
    return int(os.environ.get(RAYLET_PID) or os.getppid())


def clean_environment(variables: Mapping[str, str], pid: int) -> dict[str, str]:
    """What the shell had that ran `ray start`, as the raylet's environment tells it; where nobody
    may read that, this worker's ``variables`` without what Ray is known to set."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="surrogateescape")
        found = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    except OSError:
        found = without_workers(variables)
    return without_ray(found)


def without_ray(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what Ray reads, sets for a raylet, and preloads."""
    kept = {k: v for k, v in variables.items() if not k.startswith(_PREFIX) and k not in _OURS}
    preloaded = kept.get("LD_PRELOAD", "")
    if _RAY_LIBRARIES in preloaded:
        others = [one for one in preloaded.replace(":", " ").split() if _RAY_LIBRARIES not in one]
        del kept["LD_PRELOAD"]
        kept.pop("MALLOC_CONF", None)  # of Ray's allocator
        if others:
            kept["LD_PRELOAD"] = ":".join(others)
    if kept.get("PYTHONBREAKPOINT", "").startswith("ray."):
        del kept["PYTHONBREAKPOINT"]
    return kept


def without_workers(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what Ray sets for a worker by what that may use: threads and devices."""
    gone = ("OMP_NUM_THREADS", "ZE_AFFINITY_MASK", "FURIOSA_DEVICES", "HABANA_VISIBLE_MODULES")
    hides = ("_VISIBLE_DEVICES", "_VISIBLE_CORES", "_VISIBLE_CHIPS")
    return {k: v for k, v in variables.items() if k not in gone and not k.endswith(hides)}


def settled(command: Sequence[str], pid: int) -> list[str]:
    """A command as it would run in the shell that ran `ray start`; its program is a path."""
    wanted = {
        "cpus": sorted(os.sched_getaffinity(pid)) if hasattr(os, "sched_getaffinity") else [],
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "oom_score_adj": _oom_score_adj(pid),
    }
    return [command[0], "-I", "-c", _SETTLE, json.dumps(wanted), *command]


def _oom_score_adj(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    except (OSError, ValueError):
        return 0
