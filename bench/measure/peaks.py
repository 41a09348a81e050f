"""What a target can do at most, measured by the runtime itself: products of matrices, and copies.

The two peaks of a roofline (Williams, Waterman & Patterson 2009, CACM 52:65). They are measured
with the cell's own options through its own runtime, once for each machine, device, version and
options, and kept beside other caches. The product is in the precision that the cell computes in,
made as the variants of models are; the copy is of fp32, for bytes are bytes.

They are to be the device's. So a call is long beside what it takes to launch it and to wait for it:
it makes several products, one of the other, or copies as much as that needs. And no cast of what
goes in and comes out is part of it: ONNX files in fp16 take and give fp16, and modules, which a
backend wraps in casts, have their own operands and give a part of the result.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.backend import ModelFile, TorchSource
from bench.cards.variants import Calibration, make_form
from bench.errors import BenchError
from bench.files import write_text
from bench.folders import cache_folder
from bench.machine.facts import machine_facts
from bench.machine.memory import spare_bytes
from bench.measure.member import Context, cpus_of
from bench.measure.plan import PlannedCell
from bench.measure.reference import numeric
from bench.numbers import duration, size
from bench.runtimes.loaded import loaded_worker
from bench.variants import held_to

#: One more whenever peaks are measured in another way, so that none that was kept before counts.
_METHOD = 2
#: A size is large enough where a call takes so long: to launch one and to wait for it takes a GPU
#: 10 to 20 us, and a short call finds a moment in which nothing else has its CPU.
_LONG_ENOUGH_NS = 1_000_000
#: Sides of square matrices. Larger ones are tried until they are no faster by this factor, or a
#: call would take longer than that.
_SIDES = (512, 1024, 2048, 4096, 8192)
_FASTER = 1.02
_LONGEST_NS = 250_000_000
#: So many products in a call, or as many as take so long.
_MOST_PRODUCTS = 16
_PRODUCTS_NS = 10_000_000
#: Numbers that are copied: 64 MiB, beyond every cache where a copy takes so long; at most 4 GiB.
_COPIED, _MOST_COPIED = 2**24, 2**30
#: The next size is to take longer than needed by this factor, since a short call tells its time
#: with that of launching it.
_MORE = 1.5
#: How often a worker and the harness hold what is copied, at most.
_HELD = 8
_CALLS, _BUDGET_NS = 50, 500_000_000
_WARM_UP_S = 1.0
_NETS = '''"""Made by bench: operators on operands of their own."""
import torch

SIDE, PRODUCTS, COPIED = {side}, {products}, {copied}


class Product(torch.nn.Module):
    def __init__(self):
        super().__init__()
        made = torch.Generator().manual_seed(1)
        self.register_buffer("a", torch.randn(SIDE, SIDE, generator=made))
        # What is multiplied by it stays as large as it was.
        self.register_buffer("b", torch.randn(SIDE, SIDE, generator=made) / SIDE**0.5)

    def forward(self, x):
        product = self.a
        for _ in range(PRODUCTS):
            product = torch.matmul(product, self.b)
        return product[:1]


class Copy(torch.nn.Module):
    source = target = None

    def forward(self, x):
        if self.target is None:  # fresh memory would be made by the system page by page
            self.source = torch.ones(COPIED, device=x.device)
            self.target = torch.empty_like(self.source)
        return torch.neg(self.source, out=self.target)
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
    with TemporaryDirectory(prefix="bench-peaks-") as folder:
        tried = _Tried(planned, context, Path(folder))
        bytes_per_s = _once(planned, "copy", lambda: _bandwidth(tried.copy_ns, tried.most_copied()))
        try:
            operations_per_s = _once(
                planned,
                f"product {precision}",
                lambda: _throughput(partial(tried.products_ns, precision)),
            )
        except BenchError as error:
            return Peaks(None, bytes_per_s, precision, str(error))
    return Peaks(operations_per_s, bytes_per_s, precision)


def _once(planned: PlannedCell, what: str, measure: Callable[[], float]) -> float:
    """The highest rate, as it was kept or measured now."""
    kept = cache_folder() / "peaks" / f"{_key(planned, what)}.json"
    try:
        found = json.loads(kept.read_text())["per_s"]
        if isinstance(found, float) and 0 < found < math.inf:
            return found
    except (OSError, ValueError, TypeError, KeyError):
        pass  # nothing is kept, or it is broken
    measured = measure()
    write_text(kept, json.dumps({"per_s": measured}))
    return measured


def _key(planned: PlannedCell, what: str) -> str:
    """Of all that a peak depends on."""
    choice, cell = planned.choice, planned.cell
    device = choice.device.name if choice.device else ""
    machine = machine_facts(()).machine_id
    depends = [_METHOD, machine, cell.target, device, choice.version, cell.threads, what]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]


def _bandwidth(copy_ns: Callable[[int], float], most: int) -> float:
    """Bytes a second of the first copy that takes long enough, read and written. ``copy_ns`` times
    one of so many numbers, of at most ``most``. Raises `BenchError` where none takes long enough.
    """
    count = _COPIED
    while True:
        fastest_ns = copy_ns(count)
        if fastest_ns >= _LONG_ENOUGH_NS:
            return 8.0 * count / fastest_ns * 1e9
        wanted = count * 2 ** math.ceil(math.log2(_MORE * _LONG_ENOUGH_NS / fastest_ns))
        larger = min(wanted, most)
        if larger <= count:
            why = "fits in memory" if most < _MOST_COPIED else "is tried"
            raise BenchError(
                f"copying {size(4 * count)} takes only {duration(fastest_ns)}, much of which is "
                f"starting it, and no larger copy {why}."
            )
        count = larger


def _throughput(products_ns: Callable[[int, int], float]) -> float:
    """Operations a second: the highest of all sizes, which end where a larger one is no faster.
    ``products_ns`` times products of a side, so many in a call. Raises `BenchError` where no size
    can be had that takes long enough."""
    highest, long_enough = 0.0, False
    for side in _SIDES:
        work, products = 2.0 * side**3, 1
        if highest:
            one_ns = work / highest * 1e9
            if one_ns > _LONGEST_NS:
                break
            products = min(_MOST_PRODUCTS, max(1, round(_PRODUCTS_NS / one_ns)))
        try:
            fastest_ns = products_ns(side, products)
        except BenchError:
            if long_enough:  # and a larger one doesn't fit
                break
            raise
        rate = products * work / fastest_ns * 1e9
        faster = rate >= _FASTER * highest
        highest, long_enough = max(highest, rate), fastest_ns >= _LONG_ENOUGH_NS
        if long_enough and not faster:
            break
    return highest


class _Tried:
    """One operator on a cell's target, in sizes to choose."""

    def __init__(self, planned: PlannedCell, context: Context, folder: Path) -> None:
        self._planned, self._context, self._folder = planned, context, folder
        self._rng = np.random.default_rng(context.suite.seed)
        runtime = planned.choice.runtime
        self._of_torch = runtime is not None and "onnx" not in runtime.forms

    def most_copied(self) -> int:
        """How many numbers memory holds; a module's own are in the device's alone."""
        device = self._planned.choice.device
        if self._of_torch and device is not None and device.id != "cpu":
            return _MOST_COPIED
        return min(_MOST_COPIED, spare_bytes() // (4 * _HELD))

    def copy_ns(self, count: int) -> float:
        """The fastest call that copies so many numbers."""
        if self._of_torch:
            return self._fastest_ns(self._module("Copy", copied=count), _ANYTHING)
        # A negation, for what changes nothing is taken out by compilers.
        feeds = {"a": np.ones((1, count), np.float32)}
        return self._fastest_ns(_file(self._folder, "Neg", 1, feeds, {}), feeds)

    def products_ns(self, precision: str, side: int, products: int) -> float:
        """The fastest call that multiplies a matrix by a constant one so many times, as models
        multiply by their weights. Raises `BenchError` where there is no such form."""
        feeds: Mapping[str, Array] = _ANYTHING
        if self._of_torch:
            file = self._module("Product", side=side, products=products)
        else:
            dtype = _TYPES.get(precision, np.float32)
            a, b = (self._rng.standard_normal((side, side), np.float32) for _ in "ab")
            feeds = {"a": a.astype(dtype)}
            # What is multiplied by it stays as large as it was.
            constants = {"b": (b / np.sqrt(side)).astype(dtype)}
            file = _file(self._folder, "MatMul", products, feeds, constants)
            if precision in _TYPES:
                return self._fastest_ns(replace(file, variant=precision), feeds)
        data = Calibration("random numbers", [dict(feeds)], side, "")
        form = make_form(file, precision, self._folder / "forms", lambda: data)
        if form.refused is not None:
            raise form.refused
        return self._fastest_ns(form.file, feeds)

    def _module(self, factory: str, side: int = 0, products: int = 0, copied: int = 0) -> ModelFile:
        nets = self._folder / "peak_nets.py"
        sizes = {"side": side, "products": products, "copied": copied}
        code = _NETS
        for name, number in sizes.items():
            code = code.replace(f"{{{name}}}", str(number))
        nets.write_text(code)
        return ModelFile(f"peak of {factory}", torch=TorchSource(nets, factory))

    def _fastest_ns(self, file: ModelFile, feeds: Mapping[str, Array]) -> float:
        planned, context = self._planned, self._context
        choice = planned.choice
        options = replace(planned.options, shapes={name: a.shape for name, a in feeds.items()})
        cpus = cpus_of(planned, context)
        with loaded_worker(
            context.launcher, choice.runtime, choice.device, file, options, cpus=cpus
        ) as (worker, _):
            worker.bind(feeds)
            warm = worker.warm_up(_WARM_UP_S)
            calls = max(3, min(_CALLS, int(_BUDGET_NS / max(warm.latency_ns, 1))))
            return float(worker.block(calls=calls, discard=1).min())


#: What a module with operands of its own is fed.
_ANYTHING: Mapping[str, Array] = {"x": np.zeros((1, 1), np.float32)}
#: Precisions that inputs and outputs of an ONNX file can have, so that nothing is cast.
_TYPES: Mapping[str, Any] = {"fp16": np.float16}


def _file(
    folder: Path,
    op: str,
    times: int,
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
) -> ModelFile:
    """An operator, so many times on what it gave before, as an ONNX file."""
    import onnx  # onnx: start-up
    from onnx import helper, numpy_helper

    (taken, array), *_ = feeds.items()
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    values = [taken, *(f"y{number}" for number in range(times))]
    nodes = [
        helper.make_node(op, [before, *constants], [after]) for before, after in pairwise(values)
    ]
    takes = helper.make_tensor_value_info(taken, kind, array.shape)
    gives = helper.make_tensor_value_info(values[-1], kind, array.shape)
    held = [numpy_helper.from_array(constant, name) for name, constant in constants.items()]
    graph = helper.make_graph(nodes, op, [takes], [gives], held)
    path = folder / f"{op}-{array.size}-{times}.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return ModelFile(f"peak of {op}", path)
