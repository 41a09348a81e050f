"""Tests restated for what models hold: older versions of an operator, and constant inputs.

ONNX tests the newest definition of each operator alone, while models use older ones, which a
runtime may well support better or worse. A test is restated by declaring the older version, and
counts only where it still says the same there: the checker takes it, and ONNX's reference evaluator
gives the outputs that the test expects. As the evaluator has no code of its own for every old
version, a restated test that a runtime gets *wrong* is no evidence: see `predict`.

And ONNX's tests feed every input, while the weights, axes and shapes of models are constants, which
is all that some runtimes take there: such inputs are written into the test's model.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import SpecError
from bench.trials.portability.cases import Case, NodeTests, imported, since_version
from bench.trials.portability.outcomes import outcome_of_outputs


def cases_for(
    tests: NodeTests, operator: str, domain: str, opset: int, constants: tuple[int, ...] = ()
) -> tuple[Case, ...]:
    """The runnable tests of an operator as version ``opset`` of its domain defines it: ONNX's own,
    else those that can be restated; with the inputs at the places ``constants`` written into the
    model. Expanded ones aren't among them."""
    since = since_version(operator, domain, opset)
    mine = [
        case
        for case in tests.cases
        if (case.operator, case.domain) == (operator, domain)
        and case.runnable
        and not case.expanded
    ]
    exact = [case for case in mine if case.opset == since]
    restated = [] if exact else [_restated(tests, case, since, opset) for case in mine]
    found = exact or [case for case in restated if case is not None]
    return tuple(_with_constants(tests, case, constants) for case in found)


def _with_constants(tests: NodeTests, case: Case, places: tuple[int, ...]) -> Case:
    """``case`` with those of its node's inputs written into the model."""
    import onnx  # onnx: start-up
    from onnx import numpy_helper

    model = onnx.load(str(tests.model_file(case)))
    wanted = [name for p, name in enumerate(model.graph.node[0].input) if p in places and name]
    feeds, _ = tests.arrays(case)
    names = tuple(dict.fromkeys(name for name in wanted if name in feeds))
    if not names or len(names) == len(feeds):
        return case
    mark = "".join(f"c{place}" for place in places)
    made = replace(case, name=f"{case.name}{'' if '@' in case.name else '@'}{mark}", constant=names)
    if not tests.model_file(made).exists():
        kept = [value for value in model.graph.input if value.name not in names]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.graph.initializer.extend(numpy_helper.from_array(feeds[n], n) for n in names)
        _write(tests.model_file(made), model)
    return made


def _write(path: Path, model: Any) -> None:
    try:
        path.write_bytes(model.SerializeToString())
    except OSError as error:
        raise SpecError(
            f"{path}: a restated test can't be written: {error.strerror or error}. Free space, or "
            "name another folder in BENCH_CACHE."
        ) from error


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
    if model is None or not _says_the_same(model, tests, case):
        with contextlib.suppress(OSError):  # it is only asked again
            refused.touch()
        return None
    _write(path, model)
    return made


def _at_version(path: Path, domain: str, opset: int) -> Any:
    """A copy of a model that declares an older version of a domain; None where that is none."""
    import onnx  # onnx: start-up
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
    import onnx  # onnx: start-up
    from onnx.reference import ReferenceEvaluator

    feeds, expected = tests.arrays(case)
    try:
        onnx.checker.check_model(model, full_check=True)
        outputs = ReferenceEvaluator(model).run(None, feeds)
        found = [np.asarray(output) for output in outputs]
    except Exception:  # the evaluator's errors are of every kind
        return False
    return outcome_of_outputs(found, expected, case.rtol, case.atol)[0] == "pass"
