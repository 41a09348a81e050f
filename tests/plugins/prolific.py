"""A backend whose sessions start processes of every kind and forget them; installed by
`test_nothing_left_behind`.

Each writes a line with its kind to the file that ``PROLIFIC_LOG`` names, once it is there.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from stand_in import StandIn

from bench.backend import Device, ModelFile, Options
from bench.errors import Unsupported

KINDS = ("plain", "own session", "forked", "daemon")


def _note(text: str) -> None:
    with open(os.environ["PROLIFIC_LOG"], "a") as file:
        file.write(f"{text}\n")


def _stay(kind: str) -> None:
    """In a forked child: never returns."""
    _note(kind)
    time.sleep(600)
    os._exit(0)


def start_them_all() -> None:
    subprocess.Popen(["sleep", "600"])
    _note("plain")
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    _note("own session")
    if os.fork() == 0:
        _stay("forked")
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            _stay("daemon")
        os._exit(0)
    os.waitpid(middle, 0)


class Prolific(StandIn):
    name = "prolific"

    def devices(self) -> list[Device]:
        return [Device(id=name, vendor="nobody", name=name) for name in ("ok", "fails")]

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        start_them_all()
        if device.id == "fails":
            raise Unsupported("prolific has no kernel for anything")
        return super().compile(model, Device("ok", "", ""), options)


class Stuck(StandIn):
    """A runtime whose import never ends, and starts a process before."""

    name = "stuck"
    preload = ("stuck_import",)
