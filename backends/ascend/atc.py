"""Compiles ONNX to Huawei's offline models (``.om``) with `atc`, and keeps what it made.

Compiling takes `atc` half a minute and more, needs no NPU, and depends on the model, the chip, the
options and the toolkit's version: the file's name is a hash of these.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Mapping, Optional

from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported
from bench.folders import cache_folder

from ..shared.huawei import cann_version
from .acl import SETUP, brief
from .folder import external_data, placed, scratch_in

#: Values of `--precision_mode_v2` (ATC guide) and what a model then computes in, as `bench` names
#: it; the empty one is that of the graph. The hif8 ones, which one family of chips knows, are left
#: out.
PRECISIONS = {
    "origin": "",
    "fp16": "fp16",
    "mixed_float16": "fp16+fp32",
    "mixed_bfloat16": "bf16+fp32",
    "cube_fp16in_fp32out": "fp16+fp32",
}
_PR_SET_PDEATHSIG = 1
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Job:
    """What to compile: for ``soc``, with these input shapes (none: those in the file), and, where
    there are ``gears``, for each of these sizes of the batch; where there are ``dims``, for each of
    these sizes of the one dimension that is -1."""

    model: Path
    where: str
    soc: str
    precision: str = "origin"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    gears: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()

    def options(self) -> list[str]:
        """The command line after the names of files."""
        given = [
            "--framework=5",
            f"--soc_version={self.soc}",
            f"--precision_mode_v2={self.precision}",
            "--log=error",
        ]
        if self.shapes:
            shapes = ";".join(f"{n}:{','.join(map(str, self._dims(n)))}" for n in self.shapes)
            given.append(f"--input_shape={shapes}")
        if self.gears:
            given.append(f"--dynamic_batch_size={','.join(map(str, self.gears))}")
        if self.dims:  # ATC guide, --dynamic_dims: a gear has a value for each -1
            given += [f"--dynamic_dims={';'.join(map(str, self.dims))}", "--input_format=ND"]
        return given

    def _dims(self, name: str) -> tuple[int, ...]:
        """The shape of an input, -1 for a batch with gears: atc takes it in dimension 0 alone."""
        shape = self.shapes[name]
        return (-1, *shape[1:]) if self.gears and shape[:1] == (self.batch,) else tuple(shape)

    @property
    def batch(self) -> int:
        """The first dimension of the first input that has one."""
        return next((shape[0] for shape in self.shapes.values() if shape), 1)


def compile_om(job: Job) -> Path:
    """The offline model, from the cache where it is there.

    Raises `Unavailable` without `atc`, `Unsupported` for an operator it has no parser or kernel
    for, `SpecError` for a file or options that it can't take, `OutOfMemory`.
    """
    atc = shutil.which("atc")
    if atc is None:
        raise Unavailable(
            f"{job.where}: atc, CANN's compiler, is not on the PATH.",
            f"`{SETUP}`, or install the CANN toolkit (atc needs no NPU).",
        )
    for name in job.shapes:
        if ";" in name:
            raise Unsupported(
                f"{job.where}: the name of input {name!r} holds a `;`, at which atc splits its "
                "--input_shape. Rename that input in the ONNX file."
            )
    folder = cache_folder() / "ascend"
    path = folder / f"{job.model.stem}-{_key(job, Path(atc))}.om"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # atc leaves kernel_meta/ and fusion_result.json where it runs.
        with tempfile.TemporaryDirectory(prefix="atc-", dir=scratch_in(folder)) as scratch:
            whole = path.with_name(f"{path.name}.{os.getpid()}.partial")
            shutil.move(str(_run(job, atc, Path(scratch))), whole)
            whole.replace(path)
    except OSError as error:
        raise SpecError(
            f"{folder}: compiled models can't be kept there: {error.strerror or error}. "
            "Set BENCH_CACHE to a writable folder."
        ) from error
    return path


def _run(job: Job, atc: str, folder: Path) -> Path:
    model, output = placed(job.model, folder), folder.resolve() / "model"
    command = [atc, f"--model={model}", f"--output={output}"]
    try:
        done = subprocess.run(  # for as long as the worker may take to load
            [*command, *job.options()],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=_end_with_the_worker if sys.platform == "linux" else None,
        )
    except OSError as error:
        raise Unavailable(
            f"{job.where}: {atc} can't be started: {error.strerror or error}.",
            "Install the CANN toolkit again (atc needs no NPU).",
        ) from error
    # The worker's log: all that atc said, which the error has a line of.
    print(done.stdout, file=sys.stderr, flush=True)
    # It is named model.om, or model_linux_x86_64.om where the model holds host code.
    made = sorted(folder.glob("model*.om"))
    if done.returncode != 0 or not made:
        raise explain(job, done.returncode, done.stdout)
    return made[0]


def _end_with_the_worker() -> None:
    """In the child: a compiler must not go on when its worker was killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def explain(job: Job, returncode: int, output: str) -> BenchError:
    """What it means that `atc` failed.

    Its output reads ``E19010: No parser is registered for Op [n, optype [ai.onnx::11::X]]`` (what
    onnx_parser.cc prints), then ``Solution:`` and ``TraceBack``; E6xxxx and EZxxxx come from the
    kernels' compiler.
    """
    message = _message(output)
    reason = brief(message) or f"exit code {returncode}"
    lacking = re.findall(r"optype \[(?:[\w.]*::)*(\w+)\]", message)
    if re.search(r"No parser is registered", message) and lacking:
        ops = ", ".join(dict.fromkeys(lacking))
        return Unsupported(f"{job.where}: atc does not know the operator {ops}: {reason}.")
    no_kernel = re.search(r"No supported Ops kernel.*?optype \[(\w+)\]", message, re.S)
    if no_kernel:
        return Unsupported(
            f"{job.where}: {job.soc} has no kernel for the operator {no_kernel[1]} in this "
            f"precision: {reason}. Try ?precision=mixed_float16."
        )
    if returncode in (-signal.SIGKILL, 137) or "std::bad_alloc" in output:
        return OutOfMemory(f"{job.where}: atc was killed, most likely because host memory ran out.")
    shapes = "" if job.shapes else " If dimensions of it are symbolic, atc needs their shapes."
    return SpecError(f"{job.model}: atc can't compile it for {job.soc}: {reason}.{shapes}")


def _message(output: str) -> str:
    """From the first line that carries an error code on."""
    found = re.search(r"^\s*(?:E[A-Z0-9]\d{4}|E\d{5}):", output, re.MULTILINE)
    if found:
        return output[found.start() :]
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n".join(line for line in lines if "error" in line.lower()) or "\n".join(lines[-1:])


def _key(job: Job, atc: Path) -> str:
    """Hash of all that decides what `atc` makes."""
    status = atc.resolve().stat()
    compiler = f"{cann_version(atc)} {status.st_size} {status.st_mtime_ns}"
    digest = hashlib.sha256("\n".join([compiler, *job.options()]).encode())
    weights = [job.model.parent / name for name in external_data(job.model)]
    for path in (job.model, *weights):
        with path.open("rb") as file:
            for block in iter(partial(file.read, _BLOCK_BYTES), b""):
                digest.update(block)
    return digest.hexdigest()[:16]


def read_gears(target: str, text: str) -> tuple[int, ...]:
    """``1,4,8`` as sorted numbers; atc takes at least two. Raises `SpecError`."""
    if not text:
        return ()
    parts: list[Optional[int]] = [int(p) if p.isdigit() else None for p in text.split(",")]
    gears = sorted({part for part in parts if part})
    if None in parts or 0 in parts or len(gears) < 2:
        raise SpecError(
            f"{target}: gears={text}: give two or more batch sizes, for example gears=1,4,8."
        )
    return tuple(gears)
