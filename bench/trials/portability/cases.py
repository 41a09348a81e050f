"""ONNX's backend node tests as files that any worker can load.

The tests come with the package ``onnx`` (`onnx.backend.test`): each is a model of one node with
inputs and the outputs that the operator's specification asks for; where an operator is defined by
a function of others, further tests ("expanded") hold that function's body in the node's place.
The package makes them in memory, slowly, so they are written into the cache once a version.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError
from bench.files import making_in
from bench.randomness import is_random

#: Of the files below; a change makes them anew.
_FORMAT = 3

#: Element types that a worker's `TensorSpec` names and its channel carries: numpy's own.
EXPRESSIBLE = frozenset(
    {"FLOAT", "DOUBLE", "FLOAT16", "BOOL", "INT8", "INT16", "INT32", "INT64"}
    | {"UINT8", "UINT16", "UINT32", "UINT64"}
)


@dataclass(frozen=True)
class Case:
    """One node test.

    ``opset`` is the version of ``domain`` since which the operator is defined as tested. Outputs
    may be off by ``rtol * |expected| + atol`` (`onnx.backend.test.case.test_case.TestCase`).
    ``types`` are the element types of the model's inputs, in ONNX's names. A case that isn't run
    says why: ``random``, or in ``inexpressible`` which type a worker can't be given.
    """

    name: str
    operator: str
    domain: str
    opset: int
    rtol: float
    atol: float
    inputs: tuple[str, ...]
    types: tuple[str, ...]
    expanded: bool = False
    random: bool = False
    inexpressible: str = ""
    restated: bool = False  #: written for another version of the opset, see `restate`
    constant: tuple[str, ...] = ()  #: inputs that are written into the model, see `restate`

    @property
    def runnable(self) -> bool:
        return not self.random and not self.inexpressible


class NodeTests:
    """The tests of one version of ``onnx``: their facts, model files and arrays."""

    def __init__(self, version: str, folder: Path, cases: tuple[Case, ...]) -> None:
        self.version = version
        self.folder = folder
        self.cases = cases

    def model_file(self, case: Case) -> Path:
        """The model on the disk."""
        return self.folder / "models" / f"{case.name}.onnx"

    def arrays(self, case: Case) -> tuple[dict[str, Array], list[Array]]:
        """Inputs by name, and the expected outputs. Not to be called from two threads at once."""
        name = case.name.partition("@")[0]  # a restated test has the arrays of the original
        found = self._arrays
        inputs = {
            key: found[f"{name}/in/{i}"]
            for i, key in enumerate(case.inputs)
            if key not in case.constant
        }
        outputs: list[Array] = []
        while (key := f"{name}/out/{len(outputs)}") in found:
            outputs.append(found[key])
        return inputs, outputs

    @cached_property
    def _arrays(self) -> Mapping[str, Array]:
        loaded: Mapping[str, Array] = np.load(self.folder / "arrays.npz", allow_pickle=False)
        return loaded


def node_tests(cache: Path) -> NodeTests:
    """The installed version's tests, from ``cache`` or made there.

    Raises `SpecError` where they can't be written.
    """
    import onnx  # onnx: start-up

    folder = cache / "portability" / f"tests-{onnx.__version__}-{_FORMAT}"
    found = _read(folder, onnx.__version__)
    if found is not None:
        return found
    try:
        _write(folder)
    except OSError as error:
        raise SpecError(
            f"{folder}: ONNX's tests can't be written there: {error.strerror or error}. "
            "Free space, or name another folder in BENCH_CACHE."
        ) from error
    found = _read(folder, onnx.__version__)
    if found is None:
        raise SpecError(f"{folder}: a file just written there can't be read. Is the disk healthy?")
    return found


def _read(folder: Path, version: str) -> NodeTests | None:
    """What an earlier call wrote; None where it is not there or not whole."""
    try:
        rows = json.loads((folder / "index.json").read_text())
        cases = tuple(_case(row) for row in rows)
        made = NodeTests(version, folder, cases)
        here = {entry.name for entry in os.scandir(folder / "models")}
        whole = all(f"{case.name}.onnx" in here for case in cases if case.runnable)
        return made if whole and made._arrays is not None and cases else None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _case(row: dict[str, Any]) -> Case:
    lists = {key: tuple(row[key]) for key in ("inputs", "types", "constant")}
    return Case(**{**row, **lists})


def _write_cases(made: Path) -> None:
    """An index of all cases, and of the runnable ones the model and the arrays."""
    arrays: dict[str, Array] = {}
    cases = []
    for case, test in _all_cases():
        cases.append(case)
        if case.runnable:
            (made / "models" / f"{case.name}.onnx").write_bytes(test.model.SerializeToString())
            arrays.update(_named_arrays(case, test))
    np.savez(made / "arrays.npz", **arrays)  # type: ignore[arg-type]
    (made / "index.json").write_text(json.dumps([asdict(case) for case in cases]))


def _write(folder: Path) -> None:
    """All files in a folder of their own first, so that no reader sees half of them."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with making_in(folder.parent) as making:
        made = making / "made"
        (made / "models").mkdir(parents=True)
        _write_cases(made)
        shutil.rmtree(folder, ignore_errors=True)
        # Where another process was faster its files are as good.
        with contextlib.suppress(FileExistsError):
            made.rename(folder)


def _all_cases() -> Iterator[tuple[Case, Any]]:
    """Every node test with its facts; the names of operators are those of the tests' one node."""
    from onnx.backend.test.loader import load_model_tests  # onnx: start-up

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The package's own overflows and prints, which are none of the user's business.
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind="node")
    plain: dict[str, Case] = {}
    for test in tests:
        base = plain.get(test.name.partition("_expanded")[0])
        if "_expanded" in test.name and base is not None:
            yield _facts(test, base.operator, base.domain, base.opset, expanded=True), test
            continue
        node = test.model.graph.node[0]
        domain = "" if node.domain == "ai.onnx" else node.domain
        opset = since_version(node.op_type, domain, imported(test.model, domain))
        plain[test.name] = _facts(test, node.op_type, domain, opset, expanded=False)
        yield plain[test.name], test


def _facts(test: Any, operator: str, domain: str, opset: int, *, expanded: bool) -> Case:
    graph = test.model.graph
    values = [*graph.input, *graph.output]
    return Case(
        name=test.name,
        operator=operator,
        domain=domain,
        opset=opset,
        rtol=test.rtol,
        atol=test.atol,
        inputs=tuple(value.name for value in graph.input),
        types=tuple(type_name(value) for value in graph.input),
        expanded=expanded,
        random=_is_random(test),
        inexpressible=next((t for t in map(type_name, values) if t not in EXPRESSIBLE), ""),
    )


def type_name(value: Any) -> str:
    """ONNX's name for the element type of a ValueInfoProto; for what is no tensor its kind."""
    from onnx import TensorProto  # onnx: start-up

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return str(kind or "unknown").removesuffix("_type")
    return str(TensorProto.DataType.Name(value.type.tensor_type.elem_type))


def imported(model: Any, domain: str) -> int:
    """Which version of a domain's operators a model uses; 1 where it doesn't say."""
    versions = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    return int(versions.get(domain, 1))


def since_version(operator: str, domain: str, opset: int) -> int:
    """Since which version an operator is defined as ``opset`` defines it; ``opset`` itself where
    ONNX knows no such operator."""
    from onnx import defs  # onnx: start-up

    try:
        return int(defs.get_schema(operator, opset, domain).since_version)
    except defs.SchemaError:
        return opset


def _is_random(test: Any) -> bool:
    """Whether it draws random numbers; that of ONNX Runtime leaves out training-mode Dropout, too
    (test_backend_onnxruntime.py, training_dropout)."""
    names = [value.name for value in test.model.graph.input]
    fed = dict(zip(names, map(_tensor, test.data_sets[0][0]), strict=False))
    return any(is_random(node, fed) for node in test.model.graph.node)


def _tensor(value: Any) -> Any:
    """As ONNX keeps it; None for what is no tensor."""
    from onnx import TensorProto, numpy_helper  # onnx: start-up

    if isinstance(value, (TensorProto, np.ndarray, np.generic)):
        return (
            value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value))
        )
    return None


def _named_arrays(case: Case, test: Any) -> dict[str, Array]:
    ((inputs, outputs),) = test.data_sets
    named = {f"{case.name}/in/{i}": _plain_array(value) for i, value in enumerate(inputs)}
    named.update({f"{case.name}/out/{i}": _plain_array(value) for i, value in enumerate(outputs)})
    return named


def _plain_array(value: Any) -> Array:
    from onnx import TensorProto, numpy_helper  # onnx: start-up

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
