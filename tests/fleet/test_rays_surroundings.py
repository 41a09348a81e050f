"""What Ray changes in its workers doesn't reach what is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.fleet.ray.surroundings import (
    NOT_SETTLED,
    clean_environment,
    settled,
    without_ray,
    without_workers,
)

#: What a worker of Ray 2.60 was seen to have that the shell had not, on Linux.
OF_A_WORKER = {
    "RAY_JOB_ID": "ffffffff",
    "RAY_RAYLET_PID": "6188",
    "RAY_LD_PRELOAD_ON_WORKERS": "0",
    "RAY_AUTH_TOKEN": "secret",
    "SPT_NOENV": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "ASCEND_RT_VISIBLE_DEVICES": "",
    "PYTHONBREAKPOINT": "ray.util.rpdb.set_trace",
    "LD_PRELOAD": "/v/lib/python3.11/site-packages/ray/core/libjemalloc.so",
}
OF_THE_USER = {"PATH": "/bin", "HOME": "/root", "RAYON_NUM_THREADS": "2"}


def a_raylet(environment: dict[str, str], *, nice: int = 0) -> subprocess.Popen[str]:
    """A process in a raylet's place: it waits, and has what a raylet has."""
    code = "import os; os.nice(int(os.environ['NICE'])); print('up', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "NICE": str(nice)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_nothing_of_a_worker_of_ray_is_in_the_environment_that_measures() -> None:
    assert without_ray(without_workers({**OF_THE_USER, **OF_A_WORKER})) == OF_THE_USER


def test_what_the_shell_had_that_started_ray_is_measured_with() -> None:
    own = {**OF_THE_USER, "OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "2"}
    raylet = a_raylet({**own, "LD_PRELOAD": OF_A_WORKER["LD_PRELOAD"], "RAY_JOB_ID": "1"})
    try:
        found = clean_environment({**own, **OF_A_WORKER}, raylet.pid)
    finally:
        raylet.communicate("\n")
    assert found == {**own, "NICE": "0"}


def test_a_library_that_the_user_preloads_stays_preloaded() -> None:
    both = "/v/ray/core/libjemalloc.so:/opt/vendor.so"
    assert without_ray({"LD_PRELOAD": both}) == {"LD_PRELOAD": "/opt/vendor.so"}
    assert without_ray({"LD_PRELOAD": "/opt/vendor.so", "MALLOC_CONF": "x"}) == {
        "LD_PRELOAD": "/opt/vendor.so",
        "MALLOC_CONF": "x",
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs are pinned on Linux alone")
def test_what_measures_has_the_raylets_cpus_niceness_and_signals_not_the_workers(
    tmp_path: Path,
) -> None:
    raylet = a_raylet(dict(os.environ), nice=1)
    cpus = sorted(os.sched_getaffinity(raylet.pid))
    look = (
        "import json, os, signal; print(json.dumps([sorted(os.sched_getaffinity(0)), "
        "os.getpriority(os.PRIO_PROCESS, 0), int(open('/proc/self/oom_score_adj').read()), "
        "len(signal.pthread_sigmask(signal.SIG_BLOCK, []))]))"
    )
    #: A worker of Ray: on one CPU, with SIGINT blocked, the first to be killed.
    worker = (
        "import os, signal, subprocess, sys; os.sched_setaffinity(0, [int(sys.argv[1])]); "
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); "
        "open('/proc/self/oom_score_adj', 'w').write('900'); "
        "subprocess.run(sys.argv[2:], check=True)"
    )
    try:
        before = int(Path(f"/proc/{raylet.pid}/oom_score_adj").read_text())
        command = settled([sys.executable, "-c", look], raylet.pid)
        done = subprocess.run(
            [sys.executable, "-c", worker, str(cpus[0]), *command], capture_output=True, text=True
        )
        nice = os.getpriority(os.PRIO_PROCESS, raylet.pid)
    finally:
        raylet.communicate("\n")
    assert json.loads(done.stdout) == [cpus, nice, before, 0], done.stderr


def test_what_can_not_be_set_back_is_refused_and_not_measured(tmp_path: Path) -> None:
    """A niceness that this user may not lower again; here CPUs that there are not."""
    command = settled([sys.executable, "-c", "print('measured')"], os.getpid())
    place = command.index("-c") + 2
    wanted = json.loads(command[place])
    command[place] = json.dumps({**wanted, "cpus": [4000]})
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == NOT_SETTLED
    assert done.stdout == ""
