"""Where the time of a run went."""

from __future__ import annotations

from bench.measure.pace.account import Account


def test_all_seconds_of_a_run_are_told_once() -> None:
    now = [0.0]
    account = Account(lambda: now[0])
    now[0] += 6
    account.started_up()
    with account.starting():
        now[0] += 90
    with account.useful():
        now[0] += 30
    with account.scoring():
        now[0] += 25
    now[0] += 3
    assert account.told() == (
        "6 s to start up, 148 s to measure: 90 s to start workers (load and compile), 30 s to "
        "time and check, 25 s to score, 3 s for the rest."
    )
