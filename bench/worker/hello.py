"""The first thing that a worker's interpreter does: say what it is, before numpy is needed.

    python -c START CONTROL_FD MODULE:CLASS

One line of JSON on the control socket: ``hello`` (the protocol), ``python``, and ``numpy`` or
``problem`` (why there is none). The scheduler judges it and words what is wrong. This file and
the two that are imported before it keep to the syntax of old Pythons, so that one that is too
old can say so.
"""

import json
import os
import sys

from bench.worker import PROTOCOL

OLDEST_PYTHON = (3, 9)


def main():  # type: ignore[no-untyped-def]
    """Greet, then become the fork server, or end where that can't be."""
    if sys.argv[1] != "--worker":
        if sys.version_info[:2] >= OLDEST_PYTHON:
            from bench.worker.warden import guard  # newer syntax

            guard()
        greeting = greet()  # type: ignore[no-untyped-call]
        os.write(int(sys.argv[1]), json.dumps(greeting).encode() + b"\n")
        if "numpy" not in greeting:
            return
    from bench.worker.__main__ import main as serve  # brings the runtime

    serve()


def greet():  # type: ignore[no-untyped-def]
    """What this interpreter is."""
    version = sys.version.split()[0]
    greeting = {"hello": PROTOCOL, "python": version, "executable": sys.executable}
    if sys.version_info[:2] < OLDEST_PYTHON:
        return greeting
    try:
        import numpy  # may be absent

        greeting["numpy"] = numpy.__version__
    except Exception as error:  # a numpy that is half there raises anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        greeting["problem"] = lines[0]
    return greeting
