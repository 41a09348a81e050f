"""How near cells come to what their targets can do: the work of a query, and the target's peaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.cards.work.count import work_of
from bench.cards.work.moved import Held
from bench.errors import BenchError, Unsupported
from bench.measure.listener import Listener
from bench.measure.member import Context
from bench.measure.pace.account import Account
from bench.measure.peaks import Peaks, peaks_of, precision_of
from bench.measure.plan import PlannedCell
from bench.measure.state import CellState
from bench.record.result import Roofline
from bench.variants import HALVES, find_variant


class Rooflines:
    """Those of a run's cells, where they are asked for; peaks are measured once for each target."""

    def __init__(self, asked: bool, listener: Listener, account: Account) -> None:
        self._asked = asked
        self._listener = listener
        self._account = account
        self._peaks: dict[tuple[str, int, str], Peaks | BenchError] = {}
        self._told: set[str] = set()

    def of(
        self, state: CellState, context: Callable[[PlannedCell], Context]
    ) -> tuple[Roofline | None, str]:
        """A cell's roofline, and why it has none where one is asked for; the run says so too."""
        if not self._asked or state.failure or state.stop == "interrupted":
            return None, ""
        planned = state.planned
        try:
            work = work_of(_counted_in(planned), planned.cell.shapes, _held(planned))
        except BenchError as error:
            cell = planned.cell
            return None, self._tell(f"{cell.model.name} ({cell.scenario})", error)
        peaks = self._peaks_of(planned, context)
        if isinstance(peaks, BenchError):
            return None, self._tell(planned.cell.target, peaks)
        roofline = Roofline(
            operations=work.operations,
            bytes=work.bytes,
            unknown=dict(work.unknown),
            peak_operations_per_s=peaks.operations_per_s,
            peak_bytes_per_s=peaks.bytes_per_s,
            peak_of=peaks.precision,
            no_peak=peaks.why_not,
        )
        return roofline, ""

    def _peaks_of(
        self, planned: PlannedCell, context: Callable[[PlannedCell], Context]
    ) -> Peaks | BenchError:
        key = planned.cell.target, planned.cell.threads, precision_of(planned)
        if key not in self._peaks:
            self._listener.phase(f"measuring the peaks of {planned.cell.target}")
            with self._account.useful():
                try:
                    self._peaks[key] = peaks_of(planned, context(planned))
                except BenchError as error:
                    self._peaks[key] = error
        return self._peaks[key]

    def _tell(self, what: str, why: BenchError) -> str:
        words = f"{what} has no roofline: {why}"
        if words not in self._told:
            self._told.add(words)
            self._listener.note(words)
        return str(why)


def _held(planned: PlannedCell) -> Held:
    """What the graph doesn't say of how the target holds the model: the file that is counted may be
    the fp32 one of a cell in half precision, and what is kept of a text is there before a step."""
    runs_as = find_variant(planned.cell.variant).runs_as
    decoder = planned.model.decoder
    return Held(
        float_bytes=2 if runs_as in (row.name for row in HALVES) else None,
        state={t.output: t.input for t in decoder.state} if decoder is not None else {},
    )


def _counted_in(planned: PlannedCell) -> Path:
    """The graph that a query's operations are counted in. Raises `Unsupported` where none is."""
    if planned.prompts is not None:
        raise Unsupported("the operations of whole queries are not counted.")
    path = planned.file.onnx or planned.model.file.onnx
    if path is None:
        raise Unsupported(
            "operations are counted in an ONNX file, which a PyTorch model is only exported to for "
            "a target that takes one. Add such a target, for example -t onnxruntime:cpu."
        )
    return path
