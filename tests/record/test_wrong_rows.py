"""A cell that ran and gave something else than was asked for is no result."""

from __future__ import annotations

import pytest
from fake_records import STUDENT, a_cell, a_record

from bench.present.results import result_table
from bench.record.result import Check, Parity, Record
from bench.store.rows import result_rows


def checked(record: Record, name: str, **more: object) -> Record:
    check = Check(name=name, ok=False, detail="it is not")
    return record.model_copy(update={"checks": (check,), **more})


def off(doubted_by: tuple[str, ...] = ()) -> Parity:
    return Parity(
        reference="onnx-reference 1",
        max_abs_error=1.0,
        max_rel_error=1.0,
        cosine=0.5,
        tolerance="1e-4",
        ok=False,
        doubted_by=doubted_by,
    )


RECORD = a_record(a_cell(STUDENT, "x:cpu"))


@pytest.mark.parametrize("name", ["parity", "placement", "precision"])
def test_wrong_outputs_place_or_precision_make_a_wrong_row_that_keeps_its_figures(
    name: str,
) -> None:
    record = checked(RECORD, name, parity=off() if name == "parity" else None)
    assert record.standing == "wrong"
    assert record.wrong == (name,)
    (row,) = result_rows([record])
    assert row["status"] == "wrong"
    assert record.latency is not None
    assert row["median_ns"] == record.latency.median_ns.value
    text = result_table([record], 120).plain
    assert "≠ x:cpu, WRONG" in text
    assert "≠ 1 WRONG." in text


def test_what_is_in_doubt_or_not_compared_or_allowed_is_not_wrong() -> None:
    doubted = checked(RECORD, "reference", parity=off(("tract 1",)))
    not_compared = checked(RECORD, "parity", parity=None)
    disturbed = checked(RECORD, "undisturbed")
    allowed = checked(
        RECORD, "placement", cell=RECORD.cell.model_copy(update={"allow_fallback": True})
    )
    for record in (doubted, not_compared, disturbed, allowed):
        assert record.standing == "ok"
        assert "WRONG" not in result_table([record], 120).plain


def test_a_failed_cell_is_failed_whatever_its_checks_say() -> None:
    record = checked(RECORD, "precision", status="failed")
    assert record.standing == "failed"
