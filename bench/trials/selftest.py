"""Tries one target from end to end, step by step: what `bench debug selftest` does.

For a backend on hardware that its authors never had: whoever has the card runs one command and
sends back one file. Each step has a worker process of its own, so that a crash or a hang is that
step's result and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.arrays import Array
from bench.backend import Device, ModelFile, Options, to_plain
from bench.capabilities import TRIAL_BATCH
from bench.cards.variants import make_form
from bench.errors import BenchError, SpecError, Unavailable, WorkerCrashed, WorkerTimeout
from bench.numbers import duration
from bench.record.parity import Reference, parity
from bench.runtimes.client import Worker
from bench.runtimes.probe import probe, why_absent
from bench.runtimes.processes import Launcher
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Target, on_host
from bench.trials.sample_models import (
    Sample,
    write_hungry,
    write_samples,
    write_truncated,
    write_unknown_operator,
)
from bench.variants import FP16, FP32, HALVES
from bench.worker.messages import LoadedInfo

Outcome = Literal["ok", "failed", "skipped"]

#: Beyond the single sample that each model is run with.
SWEPT_BATCHES = (4, 16)
CYCLES = 10
#: The first cycles fill caches and pools that stay.
_SETTLING_CYCLES = 2
#: What a cycle of loading and unloading a model of a fifth of this may leave behind.
_LEAK_BYTES = 2**20
_CALLS_TIMED = 30
#: Errors that answer a bad request; others (a crash, a hang) are faults.
_REFUSALS = ("spec", "unsupported", "unavailable", "out-of-memory")


@dataclass(frozen=True)
class Step:
    """What was tried, how it ended, and what was seen. ``seconds`` are wall time."""

    name: str
    outcome: Outcome
    detail: str
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    log_tail: str = ""


@dataclass(frozen=True)
class Found:
    """What a step that went well has to say."""

    detail: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Skip(Exception):
    """A step that says nothing here, and why."""


class SelfTest:
    """One target under test; ``told`` hears of each step as it ends."""

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        launcher: Launcher,
        folder: Path,
        told: Callable[[Step], None] = lambda step: None,
        trials: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.target = target
        self.runtime = runtime
        self.launcher = launcher
        self.folder = folder
        self.told = told
        self.trials = trials
        self.steps: list[Step] = []
        self.version = ""
        self.device: Device | None = None

    def run(self) -> None:
        """All steps; without the device, the first alone."""
        self._step("probe", self._probe)
        if self.device is None:
            return
        samples = write_samples(self.folder)
        for sample in samples:
            self._step(f"run {sample.file.name}", partial(self._infer, sample, 1))
        for batch in SWEPT_BATCHES:
            self._step(f"batch {batch}", partial(self._infer, samples[1], batch))
        for trial in self.trials:
            words = "&".join(f"{key}={value}" for key, value in trial.items())
            self._step(f"with {words}", partial(self._infer, samples[1], TRIAL_BATCH, extra=trial))
        if FP16.name in self.runtime.variants:
            self._step("float16", lambda: self._float16(samples[1]))
        self._step("two bindings", lambda: self._two_bindings(samples[0]))
        for name, attempt in self._bad_requests(samples):
            self._step(name, attempt)
        self._step("load and unload", lambda: self._cycles(samples[1]))

    @property
    def ok(self) -> bool:
        return all(step.outcome != "failed" for step in self.steps)

    def _step(self, name: str, attempt: Callable[[], Found]) -> None:
        started = time.monotonic()
        try:
            found = attempt()
            step = Step(name, "ok", found.detail, facts=found.facts)
        except Skip as reason:
            step = Step(name, "skipped", str(reason))
        except BenchError as error:
            step = Step(name, "failed", f"{error.kind}: {error}", log_tail=error.log_tail)
        step = replace(step, seconds=round(time.monotonic() - started, 3))
        self.steps.append(step)
        self.told(step)

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self.launcher.worker(self.runtime, 1)
        try:
            yield worker
        except (WorkerCrashed, WorkerTimeout):
            worker.kill()  # there is nobody left to ask for an orderly end
            raise
        except BaseException:
            worker.end()
            raise
        worker.end()

    def _probe(self) -> Found:
        """The device that was asked for, or the first that is no simulation."""
        with self._worker() as worker:
            probed = probe(worker)
        self.version, devices = probed.version, probed.devices
        asked = self.target.device
        fitting = [d for d in devices if asked in ("*", d.id)]
        if not fitting:
            if (why := why_absent(probed.absent, asked)) is not None:
                raise why
            there = ", ".join(device.id for device in devices) or "none"
            raise Unavailable(f"{self.target} was not found; devices: {there}.")
        self.device = next((d for d in fitting if not d.simulated), fitting[0])
        words = f"{self.device.vendor} {self.device.name}".strip()
        driver = f", driver {self.device.driver}" if self.device.driver else ""
        facts = {"version": self.version, "devices": [to_plain(device) for device in devices]}
        return Found(f"{self.device.id}: {words}{driver}; version {self.version}", facts)

    def _options(self, shapes: Mapping[str, tuple[int, ...]], **extra: str) -> Options:
        return Options(shapes=shapes, extra={**dict(self.target.options), **extra})

    def _load(
        self, worker: Worker, file: ModelFile, options: Options, device_id: str | None = None
    ) -> LoadedInfo:
        assert self.device is not None
        device = self.device if device_id is None else replace(self.device, id=device_id)
        return worker.load(file, device, options)

    def _infer(
        self,
        sample: Sample,
        batch: int,
        file: ModelFile | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Found:
        """Compile for a batch, run, compare with the reference, look where it ran; ``file`` is
        another form of the sample, ``extra`` are further options."""
        feeds = sample.feeds(batch)
        options = self._options(sample.shapes(batch), **(extra or {}))
        with self._worker() as worker:
            loaded = self._load(worker, file or sample.file, options)
            bound = worker.bind(feeds)
            latency_ns = worker.block(calls=_CALLS_TIMED, discard=5)
            outputs, again = worker.fetch(), worker.evaluate(feeds)
            median_ns = float(np.median(latency_ns))
            copies = worker.copy_times(median_ns) if bound.times_copies else {}
        placement = bound.placement
        precision = placement.precision or (file or sample.file).variant
        error = self._compare(sample, feeds, outputs, precision)
        self._compare(sample, feeds, again, precision)
        if set(placement.nodes) != {self._device_id} or placement.off_device:
            nodes = dict(placement.nodes)
            raise BenchError(f"nodes ran elsewhere: {nodes}, not all on the device.")
        facts = {
            "load_ns": loaded.load_ns,
            "first_inference_ns": bound.first_inference_ns,
            "median_ns": median_ns,
            **{name: float(np.median(values)) for name, values in copies.items()},
            "max_abs_error": error,
            "placement": to_plain(placement),
        }
        return Found(_words(facts, precision), facts)

    @property
    def _device_id(self) -> str:
        assert self.device is not None
        return self.device.id

    def _compare(
        self, sample: Sample, feeds: Mapping[str, Array], outputs: list[Array], precision: str
    ) -> float:
        """The largest error. Raises where it is beyond the tolerance of what was compiled."""
        from onnx.reference import ReferenceEvaluator  # onnx: start-up

        right = ReferenceEvaluator(str(sample.file.onnx)).run(None, dict(feeds))
        parts = precision.split("+")
        held = next((row for row in HALVES if row.computes_in in parts), FP32)
        found = parity(outputs, Reference("onnx", tuple(right)), held.name)
        if found is None:
            shapes = [output.shape for output in outputs]
            raise BenchError(f"the outputs have the shapes {shapes}, not the reference's.")
        if not found.ok:
            error = "NaN or Inf" if found.max_abs_error is None else f"{found.max_abs_error:.2g}"
            allowed = held.tolerance.source
            raise BenchError(f"outputs differ from the reference by {error}; allowed: {allowed}.")
        return float(found.max_abs_error or 0.0)

    def _float16(self, sample: Sample) -> Found:
        """The same model in float16, made as `bench run --variant fp16` makes it."""

        def never() -> Any:
            raise AssertionError("float16 needs no calibration data")

        try:
            form = make_form(sample.file, FP16.name, self.folder, never)
        except Unavailable as error:
            raise Skip(f"the float16 form can't be made here: {error}") from error
        found = self._infer(sample, 1, form.file)
        precision = found.facts["placement"]["precision"]
        if precision and FP16.computes_in not in precision:
            raise BenchError(f"float16 was requested, but it computes in {precision}.")
        return found

    def _two_bindings(self, sample: Sample) -> Found:
        """An earlier binding must not disturb a later one's outputs."""
        with self._worker() as worker:
            self._load(worker, sample.file, self._options(sample.shapes(4)))
            for feeds in (sample.feeds(4), {"x": -sample.feeds(4)["x"]}):
                worker.bind(feeds)
                outputs = worker.fetch()
        # Float16's tolerance: what is looked for are other inputs' outputs, not rounding.
        return Found(f"largest error {self._compare(sample, feeds, outputs, FP16.computes_in):.2g}")

    def _bad_requests(self, samples: list[Sample]) -> Iterator[tuple[str, Callable[[], Found]]]:
        first = samples[0]
        shapes = first.shapes(1)
        four = self._options({"x": (1, 4)})  # what the unknown operator takes
        unknown, cut = write_unknown_operator(self.folder), write_truncated(self.folder, first.file)
        plain = self._options(shapes)
        odd = self._options(shapes, no_such_option="1")
        yield "refuses an unknown option", lambda: self._refused(first.file, odd, ("spec",))
        yield "refuses an unknown operator", lambda: self._refused(unknown, four, _REFUSALS)
        yield "refuses half a file", lambda: self._refused(cut, plain, ("spec", "unsupported"))
        yield (
            "refuses an absent device",
            lambda: self._refused(first.file, plain, ("unavailable",), "nowhere:99"),
        )
        yield "reports running out of memory", lambda: self._out_of_memory(first)

    def _refused(
        self,
        file: ModelFile,
        options: Options,
        kinds: tuple[str, ...],
        device_id: str | None = None,
    ) -> Found:
        """A bad request has to end in an error of one of ``kinds``."""
        try:
            with self._worker() as worker:
                self._load(worker, file, options, device_id)
        except BenchError as error:
            if error.kind in kinds:
                return Found(f"{error.kind}: {error}")
            raise
        raise BenchError(
            f"{file.name} was accepted, but should have been refused ({' or '.join(kinds)})."
        )

    def _out_of_memory(self, sample: Sample) -> Found:
        """More than the device has is refused, and the device still works afterwards."""
        assert self.device is not None
        total = self.device.memory_bytes
        if on_host(self.device) or not total:
            raise Skip("the device shares the machine's memory, or its size is unknown")
        hungry = write_hungry(self.folder, total + total // 4)
        feeds = hungry.feeds(1)
        try:
            with self._worker() as worker:
                self._load(worker, hungry.file, self._options(hungry.shapes(1)))
                worker.bind(feeds)
        except BenchError as error:
            if error.kind not in _REFUSALS:
                raise
            self._infer(sample, 1)
            return Found(f"{error.kind}: {error}")
        raise BenchError("outputs larger than the device's memory were computed: where are they?")

    def _cycles(self, sample: Sample) -> Found:
        """Load, run and unload again and again: what grows?"""
        assert self.device is not None
        device: list[int | None] = []
        host: list[int | None] = []
        feeds = sample.feeds(1)
        with self._worker() as worker:
            for _ in range(CYCLES):
                self._load(worker, sample.file, self._options(sample.shapes(1)))
                host.append(worker.bind(feeds).rss_bytes)
                worker.unload()
                device.append(worker.device_memory(self.device).free_bytes)
        facts = {"rss_bytes": host, "device_free_bytes": device}
        kept = [free for free in device if free is not None]
        held = [rss for rss in host if rss is not None]
        settled = CYCLES - 1 - _SETTLING_CYCLES
        if len(kept) == CYCLES:
            lost = (kept[_SETTLING_CYCLES] - kept[-1]) / settled
            where = "device memory (others may use the device too)"
        elif len(held) == CYCLES:
            lost = (held[-1] - held[_SETTLING_CYCLES]) / settled
            where = "host memory"
        else:
            raise Skip("neither the backend nor the system reports how much memory is used")
        if lost > _LEAK_BYTES:
            raise BenchError(f"each cycle takes {lost / 2**20:.1f} MiB more {where}.")
        return Found(
            f"{CYCLES} cycles, {max(0.0, lost) / 1024:.0f} KiB of {where} per cycle", facts
        )


def _words(facts: Mapping[str, Any], precision: str) -> str:
    words = [f"{duration(facts['median_ns'])} a call", f"loaded in {duration(facts['load_ns'])}"]
    if "h2d_ns" in facts:
        words.append(f"copies {duration(facts['h2d_ns'])} there, {duration(facts['d2h_ns'])} back")
    words.append(f"largest error {facts['max_abs_error']:.2g}")
    return ", ".join([*words, precision] if precision else words)


def check_forms(runtime: Runtime) -> None:
    """Raise `SpecError` for a backend that the models made here are no use to."""
    if "onnx" not in runtime.forms:
        raise SpecError(
            f"{runtime.name} takes no ONNX models, which are what `bench debug selftest` makes. "
            f"Measure a model of yours: bench run -m net.py:factory -t {runtime.name}."
        )
