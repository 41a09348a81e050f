"""Tests of an operator's newest definition, restated for an older version of the opset.

ONNX tests the newest definition of each operator alone, while models use older ones, which a
runtime may well support better or worse. A test is restated by declaring the older version, and
counts only where it still says the same there: the checker takes it, and ONNX's reference evaluator
gives the outputs that the test expects. As the evaluator has no code of its own for every old
version, a restated test that a runtime gets *wrong* is no evidence: see `predict`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import SpecError
from bench.portability.cases import Case, NodeTests, imported, since_version
from bench.portability.outcomes import compare


def cases_for(tests: NodeTests, operator: str, domain: str, opset: int) -> tuple[Case, ...]:
    """The runnable tests of an operator as version ``opset`` of its domain defines it: ONNX's own,
    else those that can be restated. Expanded ones aren't among them."""
    since = since_version(operator, domain, opset)
    mine = [
        case
        for case in tests.cases
        if (case.operator, case.domain) == (operator, domain)
        and case.runnable
        and not case.expanded
    ]
    exact = tuple(case for case in mine if case.opset == since)
    if exact:
        return exact
    restated = (_restated(tests, case, since, opset) for case in mine)
    return tuple(case for case in restated if case is not None)


def _restated(tests: NodeTests, case: Case, since: int, opset: int) -> Case | None:
    """``case`` at version ``opset``; None where it says something else there, or nothing."""
    made = replace(case, name=f"{case.name}@{opset}", opset=since, restated=True)
    path = tests.model_file(made)
    refused = path.with_suffix(".not")
    if refused.exists():
        return None
    if path.exists():
        return made
    model = _at_version(tests.model_file(case), case.domain, opset)
    try:
        if model is None or not _says_the_same(model, tests, case):
            refused.touch()
            return None
        path.write_bytes(model.SerializeToString())
    except OSError as error:
        raise SpecError(
            f"{path}: a restated test can't be written: {error.strerror or error}. Make room, or "
            "name another folder in BENCH_CACHE."
        ) from error
    return made


def _at_version(path: Path, domain: str, opset: int) -> Any:
    """A copy of a model that declares an older version of a domain; None where that is none."""
    import onnx
    from onnx import helper

    model = onnx.load(str(path))
    if imported(model, domain) <= opset:
        return None
    for entry in model.opset_import:
        if ("" if entry.domain == "ai.onnx" else entry.domain) == domain:
            entry.version = opset
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    return model


def _says_the_same(model: Any, tests: NodeTests, case: Case) -> bool:
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    feeds, expected = tests.arrays(case)
    try:
        onnx.checker.check_model(model, full_check=True)
        outputs = ReferenceEvaluator(model).run(None, feeds)
        found = [np.asarray(output) for output in outputs]
    except Exception:  # the evaluator's errors are of every kind
        return False
    return compare(found, expected, case.rtol, case.atol)[0] == "pass"
