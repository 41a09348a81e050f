"""A stand-in for LoadGen's module: it keeps what it was sent, and issues the queries it has."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Names = ("SingleStream", "MultiStream", "Server", "Offline", "PerformanceOnly", "AccuracyOnly")


@dataclass
class Sample:
    id: int
    index: int


@dataclass
class StandIn:
    """``queries`` are the indices of each query's samples; ``latency_ns`` is what its trace says of
    a sample, by its place among all."""

    queries: Sequence[Sequence[int]]
    latency_ns: Callable[[int], int] = lambda place: 1000 + place
    TestScenario: Any = field(default_factory=lambda: SimpleNamespace(**{n: n for n in Names}))
    TestMode: Any = field(default_factory=lambda: SimpleNamespace(**{n: n for n in Names}))
    TestSettings: Any = SimpleNamespace
    LogSettings: Any = SimpleNamespace
    LogOutputSettings: Any = SimpleNamespace
    library: tuple[int, int] = (0, 0)  #: samples in all, and in performance mode
    settings: Any = None
    log: Any = None
    audit: str = "unset"
    completed: list[int] = field(default_factory=list)  #: ids, in the order of completion
    given: list[bytes] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)  #: made and destroyed
    _issue: Any = None

    def QuerySampleResponse(self, id: int, data: int, size: int) -> tuple[int, bytes]:
        return id, ctypes.string_at(data, size) if size else b""

    def QuerySamplesComplete(self, responses: list[tuple[int, bytes]]) -> None:
        self.completed += [one for one, _ in responses]
        self.given += [data for _, data in responses]

    def ConstructSUT(self, issue: Any, flush: Callable[[], None]) -> int:
        self._issue = issue
        flush()
        self.handles.append("sut")
        return 7

    def ConstructQSL(self, total: int, performance: int, load: Any, unload: Any) -> int:
        load([0])
        unload([0])
        self.library = (total, performance)
        self.handles.append("library")
        return 8

    def DestroySUT(self, handle: int) -> None:
        assert handle == 7
        self.handles.append("no sut")

    def DestroyQSL(self, handle: int) -> None:
        assert handle == 8
        self.handles.append("no library")

    def StartTestWithLogSettings(
        self, sut: int, library: int, settings: Any, log: Any, audit: str
    ) -> None:
        assert (sut, library) == (7, 8)
        self.settings, self.log, self.audit = settings, log, audit
        number = 0
        lines = []
        for query, indices in enumerate(self.queries):
            self._issue([Sample(100 + number + n, index) for n, index in enumerate(indices)])
            for _ in indices:
                lines.append(_line(number, query, self.latency_ns(number)))
                number += 1
        if log.enable_trace:
            text = "\n".join(lines)
            (Path(log.log_output.outdir) / "mlperf_log_trace.json").write_text(text)


def _line(number: int, query: int, latency_ns: int) -> str:
    told = {
        "sample_seq": number,
        "query_seq": query,
        "sample_idx": 0,
        "issue_start_ns": 5,
        "complete_ns": latency_ns,
    }
    line = {"name": "Sample", "ph": "b", "id": number, "ts": 9152.084, "args": told}
    return json.dumps(line, separators=(",", ":")) + ","
