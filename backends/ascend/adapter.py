"""Huawei Ascend NPUs, natively: `atc` compiles ONNX to an offline model, pyACL loads and runs it.

Written after Huawei's documents (pyACL API reference, ATC guide, the samples) and tested against a
stand-in of both that keeps their rules; it has never touched an NPU: docs/ascend.md.

Options behind ``?``: ``precision`` (a `--precision_mode_v2` of atc, ``origin`` unless given: atc's
own default would turn a float32 model into float16), ``gears`` (batch sizes that one compiled model
takes) and ``soc`` (the chip to compile for, where it can't be asked).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Mapping, Optional, Sequence

from bench.backend import Device, ModelFile, Options
from bench.capabilities import EnergyReading
from bench.decoding import Decoder
from bench.errors import SpecError, Unavailable

from ..shared import huawei
from ..shared.checks import read_extra, require_onnx
from ..shared.huawei import cann_version
from ..shared.onnx_inputs import output_names
from .acl import Acl, import_acl
from .atc import PRECISIONS, Job, compile_om, read_gears
from .device import PROCESS, device_memory, find_devices, find_soc
from .session import AscendSession
from .steps import geared


class Ascend:
    """Adapter to the module ``acl`` and the compiler `atc`."""

    name: ClassVar[str] = "ascend"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    static_shapes: ClassVar[tuple[str, ...]] = ("npu",)
    trials: ClassVar[tuple[Mapping[str, str], ...]] = (
        {"gears": "1,4"},
        {"precision": "fp16"},
        {"precision": "mixed_float16"},
    )
    preload: ClassVar[tuple[str, ...]] = ()
    #: the driver's file descriptors and threads don't live through fork
    fork_safe: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1"}

    def __init__(self) -> None:
        self._absent: Mapping[str, Unavailable] = {}

    def version(self) -> str:
        """That of the CANN toolkit."""
        import_acl()
        return cann_version() or "0 (unknown CANN version)"

    def devices(self) -> list[Device]:
        found, self._absent = find_devices(import_acl())
        return found

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """Why NPUs beside others did not answer when `devices` was called last."""
        return self._absent

    def compile(self, model: ModelFile, device: Device, options: Options) -> AscendSession:
        target = f"{self.name}:{device.id}"
        extra = _read_options(target, options)
        gears = read_gears(target, extra["gears"])
        acl = import_acl()
        index = _index(acl, device.id)
        path = require_onnx(model, target)
        acl = acl.at(f"{model.name} on {target}")
        job = Job(
            path,
            acl.where,
            extra["soc"] or find_soc(acl),
            extra["precision"],
            {name: tuple(shape) for name, shape in options.shapes.items()},
            gears,
        )
        _check_gears(job)
        precision = PRECISIONS[job.precision] or ("fp16" if model.variant == "fp16" else "fp32")
        session = AscendSession(acl, index, compile_om(job), precision, output_names(path))

        def steps(
            decoder: Decoder, batch: int, capacity: int
        ) -> tuple[Path, Sequence[str], tuple[int, ...]]:
            found = geared(model.static, batch, capacity, acl.where)
            made = compile_om(found.job(decoder, acl.where, job.soc, job.precision))
            return made, output_names(found.step.path), found.gears

        session.compiles_steps(steps)
        return session

    def device_memory(self, device: Device) -> Optional[tuple[int, int]]:
        """Free and total bytes of the device's memory."""
        acl = import_acl()
        return device_memory(acl.at(f"{self.name}:{device.id}"), _index(acl, device.id))

    def energy(self, device: Device) -> EnergyReading:
        """The power of the NPU, as its driver's tool tells."""
        kind, _, index = device.id.partition(":")
        return huawei.energy(int(index)) if kind == "npu" else {}


def _read_options(target: str, options: Options) -> dict[str, str]:
    given = options.extra
    known = {
        "precision": tuple(PRECISIONS),
        "gears": ("", given.get("gears", "")),
        "soc": ("", given.get("soc", "")),
    }
    extra = read_extra(target, given, known)
    if not re.fullmatch(r"\w*", extra["soc"]):
        raise SpecError(
            f"{target}: soc={extra['soc']}: give a chip by atc's name, for example Ascend910B4."
        )
    return extra


def _index(acl: Acl, device_id: str) -> int:
    """The number of a device that is there. Raises `Unavailable`."""
    PROCESS.start(acl)
    count = acl.get("rt.get_device_count")
    kind, _, number = device_id.partition(":")
    if kind != "npu" or not number.isdigit() or int(number) >= count:
        present = ", ".join(f"npu:{i}" for i in range(count)) or "none"
        raise Unavailable(
            f"ascend:{device_id} is not available: pyACL finds {present}.",
            "`npu-smi info` lists the devices; ASCEND_RT_VISIBLE_DEVICES may hide some.",
        )
    return int(number)


def _check_gears(job: Job) -> None:
    if job.gears and not job.shapes:
        raise SpecError(f"{job.where}: gears need the shapes of the inputs, but none are given.")
    if job.gears and job.batch not in job.gears:
        raise SpecError(
            f"{job.where}: a batch of {job.batch} is not in gears={','.join(map(str, job.gears))}."
        )
