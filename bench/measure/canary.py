"""The canary of a group: a worker without a runtime, kept alive and on the CPUs in use."""

from __future__ import annotations

from types import TracebackType

from bench.arrays import Array
from bench.backend import Device, ModelFile, Options
from bench.errors import BenchError
from bench.measure.beats import Beat, beat_for
from bench.measure.member import WARMUP_BUDGET_S
from bench.record.block import CANARY
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher
from bench.runtimes.runtime import Runtime

#: One that lives, and one in place of it where it died.
_TRIES = 2
CANARY_RUNTIME = Runtime(CANARY, "bench.worker.canary:Canary", {})


class Canary:
    """Tells how the machine is; one that dies is replaced, and no cell fails for it."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._worker: Worker | None = None
        self._cpu: int | None = None
        self._beat: Beat | None = None

    @property
    def workers(self) -> list[Worker]:
        """Its worker, while it has one."""
        return [] if self._worker is None else [self._worker]

    def stay_on(self, cpu: int) -> None:
        """Make sure that it lives and computes on this CPU. Where even a new one can't be had, the
        next generation tries again, and this one does without."""
        for _ in range(_TRIES):
            if self._worker is not None and cpu == self._cpu:
                return
            try:
                self._settle(cpu)
            except BenchError:
                self._end()

    def block(self) -> Array | None:
        """The latencies of one block in ns; None where it died, and it is started again."""
        if self._worker is None or self._beat is None:
            return None
        try:
            return self._worker.block(calls=self._beat.calls, discard=self._beat.discard)
        except BenchError:
            self._end()
            return None

    def _settle(self, cpu: int) -> None:
        if self._worker is None:
            self._worker = self._launcher.worker(CANARY_RUNTIME, 1)
        self._worker.load(ModelFile(CANARY), Device("cpu", "", CANARY), Options(), (cpu,))
        self._worker.bind({})
        self._beat = beat_for(self._worker.warm_up(WARMUP_BUDGET_S).latency_ns)
        self._cpu = cpu

    def _end(self) -> None:
        worker, self._worker, self._cpu = self._worker, None, None
        if worker is not None:
            worker.kill()

    def __enter__(self) -> Canary:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
