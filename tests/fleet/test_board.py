"""Leases: each cell ends once, on one node at a time, whatever happens to the nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin_fleets import cells, facts

from bench.fleet.board import STRIKES, TRIES, Board, replayed
from bench.fleet.happened import Came, Excluded, Happened, Unmeasured, from_line, to_line
from bench.fleet.plan import Task, anywhere, groups

TARGETS = ("x:cpu", "y:gpu")


def tasks(models: int, *targets: str) -> list[Task]:
    found = cells(models, *targets)
    return [Task(anywhere(c), c, c.id, float(c.model.file_bytes)) for c in found]


def board_of(
    share: str, planned: list[Task], *nodes: str, targets: tuple[str, ...] = ("x:cpu",)
) -> Board:
    board = Board()
    board.add(share, groups(planned))
    for name in nodes:
        board.come(Came(name, share, targets, name))
    return board


def everything(board: Board) -> Any:
    """All that a board knows, to be compared."""
    pieces = {
        key: (p.state, p.losses, sorted(p.refused_by), sorted(p.lost_by), p.node, p.why)
        for key, p in board._pieces.items()
    }
    nodes = {
        n.name: (n.state, n.lease, n.run, n.strikes, n.measured, sorted(p.task for p in n.pieces))
        for n in board.nodes.values()
    }
    return pieces, nodes, board.counts, board.awaited()


def test_the_longest_lease_is_begun_first() -> None:
    planned = tasks(4)
    board = board_of("k", planned, "a")
    taken = [board.take("a", {t.id for t in planned})]
    while taken[-1]:
        board.finished("a", taken[-1].tasks)
        board.over("a")
        taken.append(board.take("a", {t.id for t in planned}))
    order = [task for one in taken if one for task in one.tasks]
    assert order == [t.id for t in reversed(planned)]


def test_what_a_lost_node_had_not_measured_goes_to_another_and_not_back_to_it() -> None:
    planned = tasks(1)
    board = board_of("k", planned, "a", "b")
    able = {planned[0].id}
    assert board.take("a", able) is not None
    assert board.take("b", able) is None
    board.lost("a", "killed")
    board.come(Came("a", "k", ("x:cpu",), "a-2"))
    assert board.take("a", able) is None, "it was lost with that, and b is there"
    taken = board.take("b", able)
    assert taken is not None
    assert taken.tasks == (planned[0].id,)


def test_a_cell_that_is_lost_with_every_node_is_given_up() -> None:
    planned = tasks(1)
    board = board_of("k", planned, "a", "b", "c")
    happened: list[Happened] = []
    for name in "abc"[:TRIES]:
        assert board.take(name, {planned[0].id})
        happened += board.lost(name, "killed")
    (given_up,) = [one for one in happened if isinstance(one, Unmeasured)]
    assert given_up.tasks == (planned[0].id,)
    assert "lost: killed" in given_up.why
    assert board.left() == 0
    assert board.take("c", {planned[0].id}) is None


def test_a_node_whose_leases_all_fail_does_not_take_all_there_is() -> None:
    planned = tasks(10)
    board = board_of("k", planned, "a", "b")
    able = {task.id for task in planned}
    happened: list[Happened] = []
    for _ in range(STRIKES):
        assert board.take("a", able)
        happened += board.over("a", "it can't import its runtime")
    assert [one.node for one in happened if isinstance(one, Excluded)] == ["a"]
    assert board.take("a", able) is None
    while taken := board.take("b", able):
        board.finished("b", taken.tasks)
        board.over("b")
    assert board.counts.measured == 10


def test_a_driver_that_stopped_costs_no_cell_a_try() -> None:
    planned = tasks(1)
    board = board_of("k", planned, "a")
    for number in range(TRIES + STRIKES):
        assert board.take("a", {planned[0].id})
        board.lost("a", "the driver stopped", blameless=True)
        board.come(Came("a", "k", ("x:cpu",), f"a-{number}"))
    assert board.counts.unmeasured == 0


def test_a_share_is_measured_by_its_own_nodes_alone() -> None:
    planned = tasks(2)
    board = board_of("k", planned, "a")
    board.come(Came("other", "l", ("x:cpu",), "other"))
    assert board.take("other", {t.id for t in planned}) is None


MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["come", "take", "finish", "half", "over", "error", "lose", "exclude", "stop"]
        ),
        st.integers(0, 3),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(MOVES, st.integers(1, 7), st.booleans())
def test_each_cell_ends_once_whatever_happens_to_the_nodes(
    moves: list[tuple[str, int]], models: int, one_share: bool
) -> None:
    planned = tasks(models, *TARGETS)
    able = {task.id for task in planned}
    share = {n: "all" if one_share else f"share {n % 2}" for n in range(4)}
    board = Board()
    journal: list[Happened] = []
    for name in dict.fromkeys(share.values()):
        journal += board.add(name, groups(planned))
    ended: list[tuple[str, str]] = []

    def did(happened: list[Happened]) -> None:
        journal.extend(happened)
        for one in happened:
            if isinstance(one, Unmeasured):
                ended.extend((one.share, task) for task in one.tasks)

    def finish(number: int, some: tuple[str, ...]) -> None:
        ended.extend((share[number], task) for task in some)
        did(board.finished(f"n{number}", some))

    for move, number in [*moves, *((m, n) for n in range(4) for m in ("come", "take"))]:
        name = f"n{number}"
        if name not in board.nodes or move == "come":
            targets = TARGETS if number else TARGETS[:1]
            did(board.come(Came(name, share[number], targets, f"{name}-{len(journal)}")))
        leased = board.leased(name)
        match move:
            case "take":
                taken = board.take(name, able)
                did([taken] if taken else [])
            case "finish":
                finish(number, leased)
                did(board.over(name))
            case "half":
                finish(number, leased[:1])
            case "over" | "error":
                did(board.over(name, "" if move == "over" else "agent-died: x"))
            case "lose":
                did(board.lost(name, "killed"))
            case "stop":
                did(board.lost(name, "the driver stopped", blameless=True))
            case "exclude":
                did(board.exclude(name, "node-changed: x"))
        held = [(share[n], task) for n in range(4) for task in board.leased(f"n{n}")]
        assert len(held) == len(set(held)), "one cell is leased to two nodes"
        assert not set(held) & set(ended), "what ended is leased again"
        assert len(held) == board.counts.leased
    for number in range(4):
        did(board.lost(f"n{number}", "the end"))
    did(board.give_up("no node is left"))
    assert board.left() == 0
    assert sorted(ended) == sorted((s, t.id) for s in set(share.values()) for t in planned)
    told = [json.loads(json.dumps(to_line(one))) for one in journal]
    again = replayed(one for line in told if (one := from_line(line)) is not None)
    assert everything(again) == everything(board)


@pytest.mark.parametrize("count", [3])
def test_a_half_told_journal_makes_the_board_of_that_moment(count: int) -> None:
    planned = tasks(count)
    board = Board()
    journal = board.add("k", groups(planned))
    journal += board.come(Came("a", "k", ("x:cpu",), "a", facts("a").to_json()))
    taken = board.take("a", {t.id for t in planned})
    assert taken is not None
    again = replayed([*journal, taken])
    assert everything(again) == everything(board)
    assert again.take("a", {t.id for t in planned}) is None
