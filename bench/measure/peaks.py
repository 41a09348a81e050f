"""What a target can do at most, measured by the runtime itself: products of matrices, and copies.

The two peaks of a roofline (Williams, Waterman & Patterson 2009, CACM 52:65). They are measured
with the cell's own options through its own runtime, once for each machine, device, version and
options, and kept beside other caches. The product is in the precision that the cell computes in,
made as the variants of models are; the copy is of fp32, for bytes are bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.arrays import Array
from bench.backend import ModelFile, TorchSource
from bench.cards.variants import Calibration, make_form
from bench.errors import BenchError
from bench.files import write_text
from bench.folders import cache_folder
from bench.machine.facts import machine_facts
from bench.measure.member import Context, cpus_of
from bench.measure.plan import PlannedCell
from bench.measure.reference import numeric
from bench.runtimes.loaded import loaded_worker
from bench.variants import held_to

#: A size is large enough where a call takes so long: launching is no part of it, and a short call
#: finds a moment in which nothing else has its CPU.
_LONG_ENOUGH_NS = 1_000_000
#: Sides of square matrices, and numbers that are copied (64 to 256 MiB, beyond every cache).
_SIDES = (512, 1024, 2048, 4096, 8192)
_COPIED = (2**24, 2**25, 2**26)
_CALLS, _BUDGET_NS = 50, 500_000_000
_WARM_UP_S = 1.0
_NETS = '''"""Made by bench: one operator each."""
import torch

SIDE = {side}


class Product(torch.nn.Module):
    def __init__(self):
        super().__init__()
        made = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        self.register_buffer("b", made)

    def forward(self, a):
        return torch.matmul(a, self.b)


class Copy(torch.nn.Module):
    kept = None

    def forward(self, a):
        if self.kept is None:  # fresh memory would be made by the system page by page
            self.kept = torch.empty_like(a)
        return torch.neg(a, out=self.kept)
'''


@dataclass(frozen=True)
class Peaks:
    """Operations a second of a matrix product in a precision, and bytes a second that a copy reads
    and writes."""

    operations_per_s: float | None  #: None where the runtime can't run such a product
    bytes_per_s: float
    precision: str  #: as variants are called
    why_not: str = ""


def precision_of(planned: PlannedCell) -> str:
    """What a cell computes in, as variants are called."""
    return held_to(planned.cell.variant, numeric(planned)).name


def peaks_of(planned: PlannedCell, context: Context) -> Peaks:
    """Those of a cell's target. Raises `BenchError` where its runtime can't run the copy."""
    precision = precision_of(planned)
    rng = np.random.default_rng(context.suite.seed)
    with TemporaryDirectory(prefix="bench-peaks-") as folder:
        products = ((_product(Path(folder), s, rng, precision), 2.0 * s**3) for s in _SIDES)
        copies = ((_copy(Path(folder), count), 8.0 * count) for count in _COPIED)
        bytes_per_s = _once(planned, context, "copy", copies)
        try:
            operations_per_s = _once(planned, context, f"product {precision}", products)
        except BenchError as error:
            return Peaks(None, bytes_per_s, precision, str(error))
    return Peaks(operations_per_s, bytes_per_s, precision)


def _once(planned: PlannedCell, context: Context, what: str, sizes: Iterable[_Size]) -> float:
    """The highest rate, as it was kept or measured now."""
    kept = cache_folder() / "peaks" / f"{_key(planned, what)}.json"
    try:
        found = json.loads(kept.read_text())["per_s"]
        if isinstance(found, float) and 0 < found < math.inf:
            return found
    except (OSError, ValueError, TypeError, KeyError):
        pass  # nothing is kept, or it is broken
    measured = _highest(planned, context, sizes)
    write_text(kept, json.dumps({"per_s": measured}))
    return measured


def _key(planned: PlannedCell, what: str) -> str:
    """Of all that a peak depends on."""
    choice, cell = planned.choice, planned.cell
    device = choice.device.name if choice.device else ""
    machine = machine_facts(()).machine_id
    depends = [machine, cell.target, device, choice.version, cell.threads, what]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]


#: A model with what it is fed, and the work of a call.
_Size = tuple[tuple[ModelFile, dict[str, Array]], float]


def _highest(planned: PlannedCell, context: Context, sizes: Iterable[_Size]) -> float:
    """The work a second of the first size whose call is long enough, else of the largest."""
    rate = 0.0
    for (file, feeds), work in sizes:
        fastest_ns = _fastest_ns(planned, context, file, feeds)
        rate = work / fastest_ns * 1e9
        if fastest_ns >= _LONG_ENOUGH_NS:
            break
    return rate


def _fastest_ns(
    planned: PlannedCell, context: Context, file: ModelFile, feeds: Mapping[str, Array]
) -> float:
    choice = planned.choice
    shapes = {name: array.shape for name, array in feeds.items()}
    options = replace(planned.options, shapes=shapes)
    cpus = cpus_of(planned, context)
    with loaded_worker(
        context.launcher, choice.runtime, choice.device, file, options, cpus=cpus
    ) as (worker, _):
        worker.bind(feeds)
        warm = worker.warm_up(_WARM_UP_S)
        calls = max(3, min(_CALLS, int(_BUDGET_NS / max(warm.latency_ns, 1))))
        return float(worker.block(calls=calls, discard=1).min())


def _product(
    folder: Path, side: int, rng: np.random.Generator, precision: str
) -> tuple[ModelFile, dict[str, Array]]:
    """By a constant matrix, as models multiply by their weights. Raises `BenchError` where there is
    no such form."""
    feeds, other = ({n: rng.standard_normal((side, side), np.float32)} for n in "ab")
    file = _file(folder, "MatMul", "Product", feeds, other)
    data = Calibration("random numbers", [feeds], side, "")
    form = make_form(file, precision, folder / "forms", lambda: data)
    if form.refused is not None:
        raise form.refused
    return form.file, feeds


def _copy(folder: Path, count: int) -> tuple[ModelFile, dict[str, Array]]:
    # A negation, for what changes nothing is taken out by compilers.
    feeds = {"a": np.ones((1, count), np.float32)}
    return _file(folder, "Neg", "Copy", feeds, {}), feeds


def _file(
    folder: Path,
    op: str,
    factory: str,
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
) -> ModelFile:
    """One operator as a file, for runtimes that take ONNX, and as a module."""
    import onnx  # onnx: start-up
    from onnx import TensorProto, helper, numpy_helper

    takes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in feeds.items()]
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, feeds["a"].shape)
    node = helper.make_node(op, [*feeds, *constants], ["y"])
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], op, takes, [gives], held)
    path = folder / f"{op}-{feeds['a'].size}.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    nets = folder / "peak_nets.py"
    nets.write_text(_NETS.replace("{side}", str(feeds["a"].shape[0])))
    return ModelFile(f"peak of {op}", path, TorchSource(nets, factory))
