"""From windows to energies: gross, net, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from energy_windows import SPAN_S, rounds, the_energy, trace, window
from fake_records import STUDENT, a_cell

from bench.cell import Cell
from bench.machine.disturbance import ENDED, NO_FILES, Disturbance
from bench.record.energy import DISTURBANCES, energies, energies_by_other_kind, energy_by, tokens_of
from bench.record.windows import IDLE, Trace, Window

CELL = a_cell(STUDENT, "x:cpu", "offline", 8)
ID = CELL.id


def test_gross_is_the_power_over_the_queries_and_net_is_without_idling() -> None:
    found = the_energy(CELL, rounds({ID: lambda n: 100.0 + n}))
    assert found.gross_j is not None
    assert found.net_j is not None
    assert found.idle_w is not None
    assert found.power_w is not None
    assert found.power_w.value == pytest.approx(102.0)
    assert found.idle_w.value == pytest.approx(40.0)
    assert found.gross_j.value == pytest.approx(102.0 * SPAN_S / 300)
    assert found.net_j.value == pytest.approx(62.0 * SPAN_S / 300)
    assert found.above_idle
    assert (found.scope, found.kind, found.meters) == ("package", "counter", ("package-0",))
    assert (found.samples, found.tokens, found.windows, len(found.rounds)) == (8, None, 5, 5)
    assert found.resolution == pytest.approx(0.1 / 2.9, rel=0.1)


def test_idle_that_drifts_is_read_off_in_the_middle_of_each_window() -> None:
    def drifting(index: int, position: int) -> float:
        return 40.0 + 10 * position

    cells = {"a": lambda n: 100.0, ID: lambda n: 100.0}
    found = the_energy(CELL, rounds(cells, drifting))
    # The windows are evenly spaced, and this cell's is the third of four.
    assert [one.idle_w for one in found.rounds] == pytest.approx([60.0] * 5)


def test_a_net_that_may_be_nothing_is_not_above_idle() -> None:
    found = the_energy(CELL, rounds({ID: lambda n: 40.0 + (-1) ** n}))
    assert found.net_j is not None
    assert found.net_j.low < 0 < found.net_j.high
    assert not found.above_idle


def test_the_interval_of_net_holds_the_uncertainty_of_idle() -> None:
    rng = np.random.default_rng(3)
    wandering = {(i, p): 40 + rng.normal(0, 5) for i in range(5) for p in (0, 2)}
    found = the_energy(CELL, rounds({ID: lambda n: 100.0}, lambda i, p: wandering[i, p]))
    assert found.gross_j is not None
    assert found.net_j is not None
    assert found.gross_j.high - found.gross_j.low == pytest.approx(0.0, abs=1e-6)
    idle = [(wandering[i, 0] + wandering[i, 2]) / 2 for i in range(5)]
    half = 2.776 * np.std(idle, ddof=1) / np.sqrt(5) * SPAN_S / 300
    assert found.net_j.high - found.net_j.value == pytest.approx(half, rel=1e-3)


def test_what_raises_idle_and_load_alike_cancels_in_net() -> None:
    rng = np.random.default_rng(4)
    warm = rng.normal(0, 10, 5)  # a room that grows warm lifts both
    found = the_energy(CELL, rounds({ID: lambda n: 100 + warm[n]}, lambda i, p: 40 + warm[i]))
    assert found.gross_j is not None
    assert found.net_j is not None
    assert found.gross_j.high - found.gross_j.low > 0.05
    assert found.net_j.high - found.net_j.low == pytest.approx(0.0, abs=1e-6)


@pytest.mark.long
def test_intervals_of_net_hold_what_they_promise() -> None:
    rng, covered, repeats = np.random.default_rng(5), 0, 600
    for _ in range(repeats):
        common = rng.normal(0, 4, 5)
        own, before, after = (rng.normal(0, s, 5) for s in (3, 2, 2))
        found = the_energy(
            CELL,
            rounds(
                {ID: lambda n: 100 + common[n] + own[n]},  # noqa: B023
                lambda i, p: 40 + common[i] + (after if p else before)[i],  # noqa: B023
            ),
        )
        assert found.net_j is not None
        covered += found.net_j.low <= 60 * SPAN_S / 300 <= found.net_j.high
    assert 0.93 <= covered / repeats <= 0.97


@dataclass(frozen=True)
class Spoilt:
    """How a window is made invalid, and what is then said."""

    why: str
    changes: dict[str, object]
    trace: Trace | None = None


GPU = {"scope": "gpu-board", "meter": "GPU-1"}
BUSY = "other processes used 80% of a CPU"
SPOILT = {
    "failed": Spoilt("the worker died", {"failed": "the worker died"}),
    "no query": Spoilt("no query ended", {"queries": 0}),
    "disturbed": Spoilt(
        "other programs used", {"disturbed": ("other processes used 80% of a CPU",)}
    ),
    "stuck": Spoilt("did not move", {}, trace(0.0)),
    "missing": Spoilt("denied", {}, trace(1.0, at_ns=(), values=(), missing="denied")),
    "coarse": Spoilt(
        "updates of the counter",
        {},
        trace(1.0, at_ns=tuple(range(0, 3 * 10**9, 10**9)), values=(1, 2, 3)),
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_invalid_windows_are_left_out_and_say_why(name: str) -> None:
    spoilt = SPOILT[name]
    windows = rounds({ID: lambda n: 100.0})
    place = next(i for i, w in enumerate(windows) if w.cell_id == ID)
    traces = windows[place].traces if spoilt.trace is None else (spoilt.trace,)
    windows[place] = windows[place].model_copy(update={**spoilt.changes, "traces": traces})
    found = the_energy(CELL, windows)
    assert [one.index for one in found.rounds] == [1, 2, 3, 4]
    (why,) = found.invalid
    assert spoilt.why in why
    assert found.gross_j is not None
    assert found.gross_j.value == pytest.approx(1.0)


SLOW = "the CPU ran at 23% of its highest frequency"


def with_words(windows: list[Window], *words: str) -> list[Window]:
    return [w.model_copy(update={"disturbed": words}) for w in windows]


def test_a_clock_below_the_highest_makes_no_window_invalid() -> None:
    """Idle cores are at their lowest, and all cores together below what one alone reaches."""
    found = the_energy(CELL, with_words(rounds({ID: lambda n: 100.0}), SLOW))
    assert found.net_j is not None
    assert found.net_j.value == pytest.approx(60.0 * SPAN_S / 300)
    assert found.invalid == {}


#: What a watcher counts, and why a window doesn't count then.
SEEN: list[tuple[dict[str, Any], str]] = [
    ({"busy_ns": 10**9, "own_cpu_ns": 0}, "other programs used the CPUs"),
    ({"steal_ns": 10**9}, "the hypervisor gave CPU time to others"),
    ({"own_wait_ns": 10**9}, "bench's own processes waited for a CPU"),
    ({"major_faults": 3}, "bench's own processes waited for pages from the disk"),
    ({"swapped_in_pages": 4}, "the machine swapped"),
    ({"swapped_out_pages": 4}, "the machine swapped"),
    ({"throttled_ns": 5}, "the CPU quota stopped bench's own processes"),
    ({"thermal_throttles": 6}, "heat throttled the CPUs"),
    ({"unseen": (NO_FILES,)}, NO_FILES),
    ({"unseen": (ENDED,)}, ENDED),
    ({"frequency_hz": 8e8, "max_frequency_hz": 3.5e9}, ""),
]


@pytest.mark.parametrize(("seen", "why"), SEEN, ids=lambda v: next(iter(v), ""))
def test_what_disturbs_a_window_is_told_as_itself(seen: dict[str, Any], why: str) -> None:
    """Here the watcher's own words arrive, which could be reworded there alone."""
    (words,) = Disturbance(duration_ns=3 * 10**9, jiffy_error_ns=0, **seen).disturbed()
    found = the_energy(CELL, with_words(rounds({ID: lambda n: 100.0}), SLOW, words))
    assert found.invalid == ({why: 15} if why else {})
    assert {*DISTURBANCES.values()} <= {told for _, told in SEEN}


def test_a_throttled_device_gives_no_energy_and_busy_cpus_do_not_matter_to_it() -> None:
    windows = rounds({ID: lambda n: 100.0}, **GPU)
    windows = with_words(windows, BUSY)
    assert len(the_energy(CELL, windows).rounds) == 5
    slow = [w.model_copy(update={"throttled": ("heat",)} if w.queries else {}) for w in windows]
    found = the_energy(CELL, slow)
    assert found.gross_j is None
    assert found.missing == (
        "0 of 5 windows are valid, but 3 are needed: the device was throttled: heat"
    )


def test_a_window_in_which_another_process_computed_on_the_board_does_not_count() -> None:
    windows = rounds({ID: lambda n: 100.0}, **GPU)
    spoilt = trace(170.0, others=(4711,), **GPU)
    windows = [
        w.model_copy(update={"traces": (spoilt,)}) if w.index == 1 and w.queries else w
        for w in windows
    ]
    found = the_energy(CELL, windows)
    assert [one.index for one in found.rounds] == [0, 2, 3, 4]
    assert found.invalid == {"another process computed on the device": 1}


def test_without_a_valid_idle_window_on_both_sides_there_is_no_net() -> None:
    windows = rounds({ID: lambda n: 100.0})
    kept = [w for w in windows if not (w.cell_id == IDLE and w.position and w.index < 3)]
    found = the_energy(CELL, kept)
    assert found.gross_j is not None
    assert found.net_j is None
    assert [one.net_j is None for one in found.rounds] == [True, True, True, False, False]


def test_two_valid_windows_are_too_few() -> None:
    found = the_energy(CELL, rounds({ID: lambda n: 100.0}, count=2))
    assert (found.gross_j, found.net_j) == (None, None)
    assert found.missing == "2 of 2 windows are valid, but 3 are needed"


def with_traces(windows: list[Window], *more: Trace) -> list[Window]:
    return [w.model_copy(update={"traces": (*w.traces, *more)}) for w in windows]


def test_two_packages_are_added_and_one_that_was_not_read_spoils_the_window() -> None:
    both = with_traces(rounds({ID: lambda n: 100.0}), trace(50.0, meter="package-1"))
    found = the_energy(CELL, both)
    assert found.power_w is not None
    assert found.power_w.value == pytest.approx(150.0)
    assert found.meters == ("package-0", "package-1")
    one = [w if w.index else w.model_copy(update={"traces": w.traces[:1]}) for w in both]
    assert the_energy(CELL, one).invalid == {"package-1 was not read": 3}


BOARDS = a_cell(STUDENT, "x:cuda:0", "offline", 8), a_cell(STUDENT, "x:cuda:1", "offline", 8)


def two_boards(first: float = 300.0, second: float = 310.0) -> list[Window]:
    """A cell on each of two boards; in idle windows both are read, in a cell's its own."""
    found = []
    for index in range(5):
        own = [trace(w, "gpu-board", f"GPU-{n}") for n, w in enumerate((first, second))]
        idle = [trace(80.0 + 10 * n, "gpu-board", f"GPU-{n}") for n in range(2)]
        found.append(window(IDLE, index, 0, idle))
        found += [window(BOARDS[n].id, index, n + 1, [own[n]]) for n in range(2)]
        found.append(window(IDLE, index, 3, idle))
    return found


def near(cell: Cell, windows: list[Window]) -> list[Window]:
    """Its own, and the idle ones, as a run hands them on."""
    return [w for w in windows if w.cell_id in (cell.id, IDLE)]


def test_each_of_two_boards_has_its_own_energy() -> None:
    for number, cell in enumerate(BOARDS):
        found = the_energy(cell, near(cell, two_boards()))
        assert found.meters == (f"GPU-{number}",)
        assert found.power_w is not None, found.missing
        assert found.idle_w is not None
        assert found.power_w.value == pytest.approx(300.0 + 10 * number)
        assert found.idle_w.value == pytest.approx(80.0 + 10 * number)
        assert found.invalid == {}


def test_a_board_that_was_missing_in_one_window_spoils_that_one_alone() -> None:
    windows = two_boards()
    place = next(i for i, w in enumerate(windows) if w.cell_id == BOARDS[1].id)
    windows[place] = windows[place].model_copy(update={"traces": ()})
    found = the_energy(BOARDS[1], near(BOARDS[1], windows))
    assert [one.index for one in found.rounds] == [1, 2, 3, 4]
    assert found.invalid == {"GPU-1 was not read": 1}
    whole = the_energy(BOARDS[0], near(BOARDS[0], windows))
    assert (len(whole.rounds), whole.invalid) == (5, {})


def test_idle_windows_tell_the_scope_of_a_cell_whose_windows_could_not_be_read() -> None:
    died = [
        w.model_copy(update={"traces": (), "failed": "it died"}) if w.cell_id != IDLE else w
        for w in rounds({ID: lambda n: 100.0}, **GPU)
    ]
    found = the_energy(CELL, died)
    assert (found.scope, found.missing) == (
        "gpu-board",
        "0 of 5 windows are valid, but 3 are needed: it died",
    )


def test_a_kind_of_readings_that_no_window_has_gives_no_energy() -> None:
    found = energy_by(CELL, "package", "power", rounds({ID: lambda n: 100.0}), 0.95)
    assert found.missing.endswith("it was not read")


def test_scopes_are_never_added() -> None:
    windows = with_traces(
        rounds({ID: lambda n: 100.0}, **GPU),
        trace(50.0),
        trace(400.0, "wall", "m", "power"),
        trace(170.0, "platform", "psys"),
    )
    found = energies(CELL, windows, 0.95)
    powers = [(one.scope, one.power_w.value) for one in found if one.power_w]
    assert powers == [
        ("gpu-board", pytest.approx(100.0)),
        ("package", pytest.approx(50.0)),
        ("wall", pytest.approx(400.0)),
        ("platform", pytest.approx(170.0)),
    ]


def test_power_stands_in_for_a_counter_that_is_stuck_and_is_never_mixed_with_it() -> None:
    power = trace(70.0, kind="power", **GPU)
    good = with_traces(rounds({ID: lambda n: 100.0}, **GPU), power)
    assert the_energy(CELL, good).kind == "counter"
    stuck = [
        w.model_copy(update={"traces": (trace(0.0, **GPU), power)}) if w.index < 3 else w
        for w in good
    ]
    found = the_energy(CELL, stuck)
    assert found.kind == "power"
    assert found.power_w is not None
    assert (found.power_w.low, found.power_w.high) == pytest.approx((70.0, 70.0))


@pytest.mark.parametrize(
    ("stuck", "kind", "valid", "other"),
    [(0, "counter", 5, 5), (1, "counter", 4, 5), (2, "counter", 3, 5), (3, "power", 5, None)],
)
def test_the_counter_counts_as_long_as_three_of_its_windows_are_valid(
    stuck: int, kind: str, valid: int, other: int | None
) -> None:
    power = trace(70.0, kind="power", **GPU)
    windows = [
        w.model_copy(update={"traces": (trace(0.0 if w.index < stuck else 100.0, **GPU), power)})
        for w in rounds({ID: lambda n: 100.0}, **GPU)
    ]
    found = the_energy(CELL, windows)
    assert (found.kind, len(found.rounds)) == (kind, valid)
    assert found.power_w is not None
    assert found.power_w.value == pytest.approx(100.0 if kind == "counter" else 70.0)
    rest = energies_by_other_kind(CELL, windows, 0.95)
    assert [(one.kind, len(one.rounds)) for one in rest] == ([("power", other)] if other else [])


def test_readings_of_power_that_have_no_more_valid_windows_do_not_replace_the_counter() -> None:
    windows = [
        w.model_copy(update={"traces": (trace(0.0, **GPU), *w.traces)})
        for w in rounds({ID: lambda n: 70.0}, count=1, kind="power", **GPU)
    ]
    few = the_energy(CELL, windows)
    assert (few.kind, few.windows) == ("power", 1)
    gone = [w.model_copy(update={"throttled": ("heat",)} if w.queries else {}) for w in windows]
    assert the_energy(CELL, gone).kind == "counter"


@pytest.mark.parametrize(
    ("scenario", "batch", "tokens"),
    [
        ("single-stream", 1, None),
        ("prefill@128", 1, 128),
        ("decode@512", 1, 1),
        ("verify@512+4", 1, 5),
        ("generate@128+64", 1, 64),
        ("offline@128+64", 8, 512),
        ("offline", 8, None),
    ],
)
def test_tokens_are_those_taken_or_made(scenario: str, batch: int, tokens: int | None) -> None:
    assert tokens_of(a_cell(STUDENT, "x:cpu", scenario, batch)) == tokens


def test_a_trace_of_readings_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="one after the other"):
        trace(1.0, at_ns=(2, 1), values=(0, 0))
    with pytest.raises(ValueError, match="a time and a value"):
        trace(1.0, at_ns=(1,), values=())
    assert window(ID, 0, 1, []).queries == 300
