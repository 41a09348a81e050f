"""A process that runs already is pinned with all of its threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.machine.cores import pin_process

THREADS = """
import sys, threading
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_every_thread_that_a_process_has_is_pinned() -> None:
    cpu = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", THREADS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pin_process(process.pid, [cpu])
        threads = [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) == 4
        assert [os.sched_getaffinity(thread) for thread in threads] == [{cpu}] * 4
        process.communicate()


def test_a_process_that_has_ended_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    pin_process(process.pid, [0])
