"""Two hosts are two machines, whatever they are made of; one name is one machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from compared_runs import a_header
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.facts import machine_facts
from bench.store.machines import by_machine, machine_names, machine_of, neutral_name
from bench.store.run import StoredRun

FACTS = machine_facts().as_json()


def host_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def a_run(
    host: str | None,
    name: str = "",
    hardware: str = "aaaaaaaaaaaa",
    created: str = "2026-01-01T00:00:00+00:00",
) -> StoredRun:
    facts: dict[str, Any] = FACTS | {
        "hostname_hash": host and host_hash(host),
        "machine_id": hardware,
        "cpu_model": "Some(R) Chip(TM) CPU 12-Core Processor @ 2.20GHz",
        "gpus": None,
    }
    return StoredRun(
        Path("r"), a_header([], facts, machine_name=name, created_at=created), [], [], []
    )


def names(*runs: StoredRun) -> list[str]:
    return [machine.name for machine in by_machine(runs)]


def test_two_hosts_with_one_kind_of_cpu_are_two_machines() -> None:
    assert names(a_run("red", "red"), a_run("blue", "blue")) == ["red", "blue"]


def test_a_host_is_one_machine_before_and_after_runs_had_names() -> None:
    (machine,) = by_machine([a_run("red"), a_run("red", "red")])
    assert machine.machine_id == "aaaaaaaaaaaa"


@pytest.mark.parametrize("name", ["tower", "red"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_machine_is_called_what_any_of_its_runs_calls_it(name: str, order: int) -> None:
    """By its owner's name for it, or the host's own."""
    runs = [a_run("red"), a_run("red", name), a_run("red")][::order]
    assert names(*runs, a_run("blue")) == [name, neutral_name(a_run("blue").header.facts)]
    owned = [a_run("red", "red"), a_run("red", "tower")][::order]
    assert names(*owned) == ["tower"]


def test_a_host_is_one_machine_after_its_hardware_changed() -> None:
    assert names(a_run("red", "red"), a_run("red", "red", "bbbbbbbbbbbb")) == ["red"]


def test_one_host_name_on_another_cpu_is_another_machine() -> None:
    """Containers of one image, in two places."""
    here, there = a_run("sandbox"), a_run("sandbox", "", "bbbbbbbbbbbb")
    there.header.facts["cpu_model"] = "Another"
    assert len(by_machine([here, there])) == 2


def test_two_names_given_on_one_host_are_two_machines() -> None:
    assert names(a_run("red", "left socket"), a_run("red", "right socket")) == [
        "left socket",
        "right socket",
    ]


def test_a_given_name_holds_containers_of_one_hardware_together() -> None:
    assert names(a_run("c1", "runner"), a_run("c2", "runner")) == ["runner"]


def test_machines_that_give_themselves_one_name_are_told_apart() -> None:
    runs = [a_run("red", "server"), a_run("blue", "server", "bbbbbbbbbbbb")]
    assert names(*runs) == ["server", "server (2)"]


def test_a_number_that_is_taken_already_is_passed_over() -> None:
    runs = [
        a_run("a", "s (2)"),
        a_run("b", "s", "bbbbbbbbbbbb"),
        a_run("c", "s", "cccccccccccc"),
    ]
    assert names(*runs) == ["s (2)", "s", "s (3)"]


def test_a_run_without_a_name_is_called_by_its_hardware_and_never_by_its_host() -> None:
    machine = machine_of(a_run("secret"))
    assert machine.name == f"Some Chip {host_hash('secret')[:4]}"
    assert machine.key[0] == ""
    gpu = {"name": "Fast 9", "driver": "1", "memory_bytes": 1}
    assert neutral_name({"gpus": [gpu], "cpu_model": "x"}) == "Fast 9"
    assert neutral_name({}) == "unknown machine"


def test_runs_that_tell_no_host_go_by_their_hardware() -> None:
    assert len(by_machine([a_run(None), a_run(None)])) == 1
    assert len(by_machine([a_run(None), a_run(None, hardware="bbbbbbbbbbbb")])) == 2
    lost = replace(a_run(None), header=a_header([], {}))
    assert len(by_machine([lost, replace(lost)])) == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "n", "m"])), max_size=8))
def test_every_run_is_of_exactly_one_machine_and_names_are_unique(
    wanted: list[tuple[str, str]],
) -> None:
    runs = [a_run(host, name) for host, name in wanted]
    found = by_machine(runs)
    assert sorted(id(run) for group in found.values() for run in group) == sorted(map(id, runs))
    assert len({machine.name for machine in found}) == len(found)


def test_a_run_that_says_too_little_ties_no_two_machines_together() -> None:
    """Two machines by their names stay two whatever else is known of their host."""
    left, right, neither = (
        a_run("red", "left socket"),
        a_run("red", "right socket"),
        a_run("red", "red"),
    )
    for order in permutations((left, right, neither)):
        found = {m.name: group for m, group in by_machine(order).items()}
        assert found == {"left socket": [left], "right socket": [right], "red": [neither]}
    assert names(neither, left) == ["left socket"], "of one machine alone it is that one's"


def test_who_is_asked_about_the_same_runs_answers_the_same_in_any_order() -> None:
    """What a merge, a matrix and a comparison call a machine doesn't hang on how runs are named."""
    runs = [
        a_run("red", "server", created="2026-01-03"),
        a_run("blue", "server", "bbbbbbbbbbbb", created="2026-01-01"),
        a_run("blue", "server", "cccccccccccc", created="2026-01-02"),
    ]
    found = []
    for order in permutations(runs):
        machines = by_machine(order)
        called = {m.name: {run.header.created_at for run in g} for m, g in machines.items()}
        found.append((called, {m.name: (m.key, m.machine_id) for m in machines}))
    assert all(one == found[0] for one in found)
    assert found[0][0]["server"] == {"2026-01-01", "2026-01-02"}
    assert found[0][1]["server"][1] == "bbbbbbbbbbbb"
    assert machine_names(runs) == ["server (2)", "server", "server"]
