"""A run whose lines were assembled as `bench run` assembles them, with something in each field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from compared_runs import a_header
from energy_windows import rounds, trace, window
from fake_records import CONTROL, STUDENT, TEACHER, a_cell

from bench.cards.tasks import find_task
from bench.cards.tasks.base import Judged, judged
from bench.cell import Cell, LoadGen
from bench.machine.facts import machine_facts
from bench.record.assemble import Evidence, assemble, canary_median, invocation
from bench.record.block import CANARY, Block, trusted_gaps, trusted_samples, trusted_ttft
from bench.record.facts import (
    CellFacts,
    Reading,
    Scored,
    ToldPlacement,
    Trial,
    Witness,
    WorkerFacts,
)
from bench.record.loadgen import LoadGenSaid
from bench.record.parity import Reference
from bench.record.result import (
    EnvironmentFact,
    Failure,
    Footprint,
    Invocation,
    Roofline,
    SweepEnd,
)
from bench.record.windows import IDLE, Window
from bench.scenarios import Scenario, find_scenario
from bench.spec import Suite
from bench.store.write import RunStore

GENERATIONS = 4
SUITE = Suite(
    name="a",
    models=("fashion-teacher", "fashion-student"),
    scenarios=("single-stream", "offline", "server", "generate"),
    latency_bound="5ms",
    bounds="llama3.1-8b-server",
    prompt=(8,),
    answer=(4,),
    shapes={"tokens": 8},
    threads=1,
    roofline=True,
)


LOADGEN = LoadGen(
    min_duration=2000,
    min_query_count=50,
    target_qps=4000,
    target_latency=5,
    target_latency_percentile=99,
    performance_sample_count_override=64,
)
ROOFLINE = Roofline(
    operations=10**6,
    bytes=10**5,
    unknown={"Twist": 2},
    peak_operations_per_s=1e12,
    peak_bytes_per_s=2e11,
    peak_of="fp16",
    no_peak="none in int8",
)
SWEEP_END = SweepEnd(
    batch=16,
    failure=Failure(kind="out-of-memory", message="16 GiB are too many", log_tail="bad_alloc"),
)
FOOTPRINT = Footprint(
    weights_bytes=4000,
    cache_bytes=1200,
    cache_token_bytes=100.5,
    logits_bytes=320,
    needed_bytes=6720,
    cache_held_bytes=800,
    cache_cuts=True,
)


def planned_cells(teacher_name: str = "") -> list[Cell]:
    """Four that are scored, one of each further scenario, one on a device, three of a language
    model's whole queries; the last one fails."""
    teacher = TEACHER.model_copy(update={"name": teacher_name or TEACHER.name})
    cells = [a_cell(model, target) for model in (teacher, STUDENT) for target in ("x:cpu", "y:cpu")]
    other = CONTROL.model_copy(update={"variant_of": STUDENT.name})
    return [
        *cells,
        a_cell(STUDENT, "x:cpu", "offline", 8, batch_axes={"image": 0}),
        a_cell(other, "x:cpu", "server", latency_bound_ns=5_000_000, loadgen=LOADGEN),
        a_cell(other, "w@fast:npu:0"),
        a_cell(STUDENT, "x:cpu", "offline@8+4", 2),
        a_cell(STUDENT, "x:cpu", "generate@8+4"),
        a_cell(STUDENT, "x:cpu", "server@8+4", ttft_bound_ns=2 * 10**9, tpot_bound_ns=10**8),
        a_cell(STUDENT, "z:npu"),
    ]


def measured_run(folder: Path, name: str = "a", hostile: str = "") -> Path:
    """Written by the same functions that a run writes with; ``hostile`` names the first model."""
    rng = np.random.default_rng(1)
    cells = planned_cells(hostile)
    *measured, failed = cells
    header = a_header(
        cells,
        machine_facts(("numpy",), git_commit="0123abcd").as_json(),
        suite=SUITE,
        models=("fashion-teacher", "/models/fashion-student"),
        targets=tuple(dict.fromkeys(cell.target for cell in cells)),
        environments={"fast": {"numpy": "2.1"}},
        keeps_raw=True,
        machine_name="here",
        label="before",
    )
    store = RunStore.create(folder / name, header)
    blocks: dict[str, list[list[Block]]] = {cell.id: [] for cell in measured}
    taken: dict[str, list[Invocation]] = {cell.id: [] for cell in measured}
    for generation in range(GENERATIONS):
        _measure_generation(store, generation, measured, blocks, taken, rng)
    energy = _measure_energy(store, [measured[8], measured[4]], measured[7])
    for number, cell in enumerate(measured):
        samples = {n: trusted_samples(b) for n, b in enumerate(blocks[cell.id])}
        facts, rest = _facts(store, cell, number, rng)
        rest |= _token_times(blocks[cell.id])
        of_cell = [w for w in energy if w.cell_id == cell.id]
        around = [w for w in energy if w.cell_id == IDLE and w.index in {o.index for o in of_cell}]
        rest |= {"energy": sorted([*of_cell, *around], key=energy.index)} if of_cell else {}
        _finish(store, cell, (facts, rest), taken[cell.id], samples)
    failure = Failure(kind="unavailable", message="no NPU was found", log_tail="dlopen: no")
    facts = CellFacts(
        cell_id=failed.id, stop="failed", failure=failure, not_scored="no NPU was found"
    )
    _finish(store, failed, (facts, {}), [], {})
    store.close()
    return store.path


def _measure_generation(
    store: RunStore,
    generation: int,
    cells: Sequence[Cell],
    blocks: dict[str, list[list[Block]]],
    taken: dict[str, list[Invocation]],
    rng: np.random.Generator,
) -> None:
    canary = [Block(CANARY, generation, r, 0, rng.integers(900, 1100, 20)) for r in range(8)]
    workers = []
    for number, cell in enumerate(cells):
        mine = [
            _with_tokens(
                Block(
                    cell.id,
                    generation,
                    r,
                    number + 1,
                    rng.integers(9_000, 11_000, 30) * (number + 1),
                    disturbed=r == generation,
                ),
                find_scenario(cell.scenario),
            )
            for r in range(8)
        ]
        blocks[cell.id].append(mine)
        workers.append(_worker(cell, generation))
        taken[cell.id].append(invocation(workers[-1], mine, canary_median(canary)))
    found = [block for cell in cells for block in blocks[cell.id][-1]]
    store.write_samples(f"single-{generation:04d}", [*canary, *found])
    store.append_workers(workers)
    store.append_invocations([taken[cell.id][-1] for cell in cells])


def _measure_energy(store: RunStore, cells: Sequence[Cell], dead: Cell) -> list[Window]:
    """Windows of some cells, of a board that tells its power, too, but for one window, and of a
    wall that could not be read; and of another, whose worker died."""
    board = {"scope": "gpu-board", "meter": "GPU-1"}
    watts = {cell.id: lambda n: 100.0 + n for cell in cells}
    made = rounds(watts, lambda n, p: 40.0 + n - p, GENERATIONS, **board)
    power = trace(95.0, "gpu-board", "GPU-1", "power")
    lost = trace(0.0, "wall", "m.csv", "power", at_ns=(), values=(), missing="it was off")
    none = power.model_copy(
        update={"at_ns": (), "values": (), "missing": "no power", "others": (4711,)}
    )
    found = [
        one.model_copy(update={"traces": (*one.traces, power if number else none, lost)})
        for number, one in enumerate(made)
    ]
    found.append(window(dead.id, GENERATIONS - 1, 9, (), queries=0, failed="it died"))
    for index in range(GENERATIONS):
        store.append_energy([one for one in found if one.index == index])
    return found


def _with_tokens(block: Block, scenario: Scenario) -> Block:
    """The block, with the times of the tokens where its calls are whole queries."""
    if scenario.answer is None:
        return block
    ttft_ns = block.latency_ns * 2 // 5
    if scenario.name.startswith("server"):
        return replace(block, ttft_ns=ttft_ns)
    gap_ns = (block.latency_ns - ttft_ns) // (scenario.answer - 1)
    gaps_ns = gap_ns[:, None] + np.arange(-1, scenario.answer - 2)
    return replace(block, ttft_ns=ttft_ns, gaps_ns=gaps_ns)


def _token_times(blocks: list[list[Block]]) -> dict[str, object]:
    """The times of the tokens by invocation, as far as there are any."""
    ttft = {n: trusted_ttft(mine) for n, mine in enumerate(blocks)}
    gaps = {n: trusted_gaps(mine) for n, mine in enumerate(blocks)}
    return {
        "ttft": {n: found for n, found in ttft.items() if found is not None},
        "gaps": {n: found for n, found in gaps.items() if found is not None},
    }


def _worker(cell: Cell, generation: int) -> WorkerFacts:
    on_device = cell.target.endswith("npu:0")
    reading = Reading(
        power_w=90 + generation,
        clock_hz=1.9e9,
        default_clock_hz=2e9,
        throttled=("heat",),
        memory_bytes=10**9 + generation,
        memory_clock_hz=2.6e9,
        temperature_c=40.0 + generation,
    )
    trials = (
        Trial(rate_per_s=4000 + generation, held=True, late_ns=2500.0),
        Trial(rate_per_s=8000, held=False, late_ns=2700.0),
    )
    return WorkerFacts(
        cell_id=cell.id,
        index=generation,
        load_ns=10**7 + generation,
        bind_ns=1000,
        first_inference_ns=10**6 + generation,
        warmup_calls=10,
        settled=True,
        discard=5,
        peak_rss_bytes=10**8 + generation,
        rss_before_load_bytes=9 * 10**7,
        start_ns=2 * 10**9 + generation,
        disturbances=("other processes used 40% of a CPU",),
        cpus=(1,),
        waited=(0.01, 0.02, 0.03 + generation / 100, 0.04, 0.05, 0.06, 0.07, 0.08),
        queries_per_call=2 if cell.scenario == "offline" else 1,
        trials=trials if cell.scenario.startswith("server") else (),
        h2d_ns=(5000, 5100 + generation, 5200) if on_device else (),
        d2h_ns=(700, 710 + generation, 720) if on_device else (),
        readings=(reading, reading) if on_device else (),
        readings_before=(reading.model_copy(update={"clock_hz": 1.8e9}),) if on_device else (),
        raising_calls=(30, 2) if on_device else (),
        device_ns=30_000.0 + generation if on_device else None,
        device_gaps=on_device,
        loadgen=_said(generation) if cell.loadgen is not None else None,
    )


def _said(generation: int) -> LoadGenSaid:
    """What LoadGen says of a test; the last is not valid."""
    valid = generation < GENERATIONS - 1
    return LoadGenSaid(
        version="6.0.17 @ d6147c7eb7",
        scenario="Server",
        logs=f"loadgen/0123456789ab/run_{generation + 1}",
        valid=valid,
        why=() if valid else ("the latency bound is not met",),
        queries=4000 + generation,
        figure=3990.5 + generation,
        p50_ns=50_000.0,
        p90_ns=60_000.0,
        p99_ns=70_000.0,
        early_stopping="* Run successful.",
        traced=True,
        call_ns=45_000.0,
    )


def _facts(
    store: RunStore, cell: Cell, number: int, rng: np.random.Generator
) -> tuple[CellFacts, dict[str, object]]:
    """The facts of a cell, and the rest of its evidence."""
    reference = Reference("torch 2", (rng.random((4, 10)).astype(np.float32),))
    assert reference.outputs is not None
    outputs = [reference.outputs[0] * np.float32(1.00001)]
    if number in (1, 4):
        outputs[0][0, 0] = 2.0  # another class, so that a flip is counted
    # What the fifth put out is what another runtime makes of it, too.
    agreeing = [Reference("tract 0.2", tuple(outputs))] if number == 4 else []
    scored, found = _score(store, number, rng) if number < 4 else (None, Judged((), ()))
    on_device = cell.target.endswith("npu:0")
    whole = find_scenario(cell.scenario).answer is not None
    facts = CellFacts(
        cell_id=cell.id,
        stop="precision",
        simulated=number == 3,
        device_name="AMD EPYC",
        runtime_version="1.32.0",
        environment=EnvironmentFact(name="fast", python="3.9", numpy="2.1") if on_device else None,
        variant_method="by hand" if on_device else "",
        footprint=FOOTPRINT if whole else None,
        roofline=ROOFLINE if on_device else None,
        no_roofline="" if on_device else "its operations are not counted.",
        sweep_end=SWEEP_END if cell.scenario == "offline" else None,
        group="single-stream batch 1, part 1",
        finished_at="2026-11-23T12:00:00+00:00",
        placement=ToldPlacement(nodes={"npu:0": 8, "cpu": 1}, source="it says", off_device=("a",))
        if on_device
        else ToldPlacement(nodes={"cpu": 9}, source="it says"),
        profiled=ToldPlacement(precision="fp32", time_share={"npu:0": 0.75, "cpu": 0.25})
        if on_device or number == 3
        else None,
        outputs=store.write_outputs(outputs),
        reference=reference.name,
        reference_outputs=store.write_outputs(reference.outputs),
        computes_in="fp32",
        witnesses=tuple(
            Witness(name=each.name, outputs=store.write_outputs(each.outputs or ()))
            for each in agreeing
        ),
        scored=scored,
        tokenizing_ns=(900, 1000, 1200) if whole else (),
        templated=whole,
        sizes={"tokens": 8},
        assumed=("the first axis is used as the batch",),
    )
    evidence: dict[str, object] = {
        "outputs": outputs,
        "reference": reference,
        "witnesses": agreeing,
    }
    return facts, {**evidence, "scores": found.scores, "doubts": found.doubts}


def _score(store: RunStore, number: int, rng: np.random.Generator) -> tuple[Scored, Judged]:
    label = np.arange(200) % 10
    right = 0.05 if number == 3 else 0.9 - 0.02 * number
    predicted = np.where(rng.random(200) < right, label, (label + 1) % 10)
    columns = {"label": label, "predicted": predicted, "logits": rng.random((200, 10))}
    file = store.write_predictions(f"p{number}", columns)
    scored = Scored(
        notes=("2 files were left out",),
        dataset="fashion-mnist",
        dataset_sha256="e" * 64,
        predictions=file,
    )
    return scored, judged(find_task("classification"), columns, SUITE.confidence)


def _finish(
    store: RunStore,
    cell: Cell,
    facts: tuple[CellFacts, dict[str, object]],
    taken: Sequence[Invocation],
    samples: dict[int, np.ndarray],
) -> None:
    told, rest = facts
    evidence = Evidence(cell, told, taken, samples, **rest)  # type: ignore[arg-type]
    store.append_facts(told)
    store.append_record(assemble(evidence, SUITE.confidence))
