"""Runs the contract's checks in the interpreter that has rknn-toolkit2; prints JSON.

    python rknn_contract.py CHIP FOLDER

On its path: the worker's side of `bench`, this folder's parent. The simulator computes in float16,
so results may differ as much as float16 makes them.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from bench.backends.rknn import Rknn

from bench.contract.subject import Subject, assert_close
from bench.contract.suite import CHECKS

#: Sums of some ten products of numbers around 1, each rounded to 11 bits.
TOLERANCE = 1e-2


def main(chip: str, folder: str) -> None:
    backend = Rknn()
    devices = {device.id: device for device in backend.devices()}
    answer: dict[str, object] = {
        "devices": sorted(devices),
        "simulated": all(device.simulated for device in devices.values()),
    }
    assert_close.__defaults__ = (TOLERANCE,)
    subject = Subject(backend, devices[chip], Path(folder))
    failures = {}
    for name, check in CHECKS.items():
        try:
            check(subject)
        except Exception:
            failures[name] = traceback.format_exc()[-600:]
    answer.update(checks=len(CHECKS), failures=failures)
    answer["precision"] = subject.session(subject.conv).placement().precision
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
