"""ONNX's reference evaluator, put right where it is known to compute something else than ONNX says.

Found by holding its answers against ONNX's own node tests, at every version of every operator that
the tests can be restated for, with ONNX Runtime (optimisations off) as the second opinion; last
with onnx 1.23.2. Where the right answer is plain the operator has an implementation here;
where it isn't, the model is refused, and whoever wanted a reference asks the next one.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from .checks import Array

#: Operators with an implementation here, and below which version of the opset the evaluator's own
#: is wrong (None: at all). What is wrong with each:
#: BatchNormalization below 14 is computed as in training, from the batch's own statistics, though
#: a node of one output is in test mode (ONNX changelog, BatchNormalization-9, "Y (test mode)").
#: Softmax and its kin below 13 work on the input coerced to two dimensions at ``axis`` (changelog,
#: Softmax-11), not along one axis. Loop stacks what each turn gives along a new first axis (Loop,
#: "scan_outputs ... concatenated"), not along an old one. The recurrent ones end each sequence at
#: its own ``sequence_lens``, which the evaluator ignores as it does their activations.
CORRECTED: Mapping[str, Optional[int]] = {
    "BatchNormalization": 14,
    "Hardmax": 13,
    "LogSoftmax": 13,
    "Softmax": 13,
    "Loop": None,
    "GRU": None,
    "LSTM": None,
    "RNN": None,
}
_RECURRENT = ("GRU", "LSTM", "RNN")
#: Activations that need no further numbers; the order in which ``activation_alpha`` is consumed
#: where only some need one isn't said by the standard.
_ACTIVATIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(x, 0),
}
_DEFAULTS = {
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "RNN": ("Tanh",),
}


def refusal(graph: Any, opsets: Mapping[str, int]) -> str:
    """What of a graph the evaluator is known to get wrong and nothing here puts right, in words;
    empty where there is nothing."""
    version = opsets.get("", opsets.get("ai.onnx", 1))
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        given = {attribute.name: attribute for attribute in node.attribute}
        why = _refused_node(node, given, version)
        if why:
            return f"{node.op_type}{f' {node.name!r}' if node.name else ''} {why}"
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                why = refusal(inner, opsets)
                if why:
                    return why
    return ""


def _refused_node(node: Any, given: Mapping[str, Any], version: int) -> str:
    if node.op_type == "BatchNormalization" and version < 14:
        if len(node.output) > 1:
            return f"in training mode as defined in opset {version} is computed incorrectly"
        if "spatial" in given and not given["spatial"].i:
            return "with spatial=0 is computed incorrectly"
    if node.op_type in _RECURRENT:
        if "clip" in given or ("input_forget" in given and given["input_forget"].i):
            return "with clip or input_forget is computed incorrectly"
        wanted = (
            [each.decode() for each in given["activations"].strings]
            if ("activations" in given)
            else []
        )
        odd = [name for name in wanted if name.lower() not in _ACTIVATIONS]
        if odd or "activation_alpha" in given or "activation_beta" in given:
            return f"with the activation {odd[0] if odd else 'scaled'} is computed incorrectly"
    return ""


@functools.lru_cache(maxsize=None)
def evaluator_class(onnx: ModuleType) -> Any:
    """`onnx.reference.ReferenceEvaluator` with the operators above, also in the bodies of branches,
    loops and functions: it makes evaluators of its own class for them."""
    from onnx.reference import ReferenceEvaluator

    made = _implementations()

    class Corrected(ReferenceEvaluator):  # type: ignore[misc]
        def __init__(
            self, proto: Any, opsets: Any = None, *args: Any, new_ops: Any = None, **kwargs: Any
        ) -> None:
            declared = getattr(proto, "opset_import", ())
            known = opsets or {entry.domain: entry.version for entry in declared}
            mine = [made[name] for name in _wrong_at(known.get("", known.get("ai.onnx", 1)))]
            super().__init__(proto, opsets, *args, new_ops=[*(new_ops or ()), *mine], **kwargs)

    return Corrected


def _wrong_at(version: int) -> List[str]:
    return [name for name, below in CORRECTED.items() if below is None or version < below]


def _implementations() -> Dict[str, Any]:
    """A class of the evaluator's for each corrected operator, by its name."""
    from onnx.reference.op_run import OpRun
    from onnx.reference.ops.op_loop import Loop as TheirLoop

    class BatchNormalization(OpRun):  # type: ignore[misc]
        op_domain = ""

        def _run(self, x: Array, *weights: Array, **given: Any) -> Tuple[Array]:
            return (batch_normalization(x, *weights, epsilon=given.get("epsilon") or 1e-5),)

    def coerced(name: str, function: Any) -> Any:
        def run(self: Any, x: Array, **given: Any) -> Tuple[Array]:
            # The default is of the newest version (-1); what stands in the node counts.
            written = {attribute.name: attribute.i for attribute in self.onnx_node.attribute}
            return (on_rows(function, x, written.get("axis", 1)),)

        return type(name, (OpRun,), {"op_domain": "", "_run": run})

    def recurrent(name: str) -> Any:
        def run(self: Any, *inputs: Any, **given: Any) -> Tuple[Array, ...]:
            found = recurrence(name, inputs, given)
            return found[: len(self.onnx_node.output)]

        return type(name, (OpRun,), {"op_domain": "", "_run": run})

    class Loop(TheirLoop):  # type: ignore[misc]
        op_domain = ""

        def _run(self, M: Any, cond: Any, *carried: Any, **given: Any) -> Tuple[Array, ...]:
            return _loop(self, M, cond, carried, given)

    rows = {"Hardmax": _hardmax, "LogSoftmax": _log_softmax, "Softmax": _softmax}
    made = [BatchNormalization, Loop, *(recurrent(name) for name in _RECURRENT)]
    made += [coerced(name, function) for name, function in rows.items()]
    return {each.__name__: each for each in made}


# -- what they compute ----------------------------------------------------------------------------


def batch_normalization(
    x: Array, scale: Array, bias: Array, mean: Array, var: Array, *, epsilon: float
) -> Array:
    """By the running statistics, as in inference."""
    form = (-1, *(1 for _ in x.shape[2:]))
    scale, bias, mean, var = (each.reshape(form) for each in (scale, bias, mean, var))
    result: Array = scale * (x - mean) / np.sqrt(var + epsilon) + bias
    return result.astype(x.dtype)


def on_rows(function: Any, x: Array, axis: int) -> Array:
    """A function of rows, on ``x`` as a matrix whose rows begin at ``axis``."""
    place = axis % x.ndim if x.ndim else 0
    rows = x.reshape(int(np.prod(x.shape[:place], dtype=np.int64)), -1) if x.size else x
    result: Array = function(rows).reshape(x.shape).astype(x.dtype) if x.size else x
    return result


def _softmax(rows: Array) -> Any:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _log_softmax(rows: Array) -> Any:
    less = rows - rows.max(axis=1, keepdims=True)
    return less - np.log(np.exp(less).sum(axis=1, keepdims=True))


def _hardmax(rows: Array) -> Any:
    return np.arange(rows.shape[1]) == rows.argmax(axis=1)[:, np.newaxis]


def recurrence(
    name: str, inputs: Sequence[Optional[Array]], given: Mapping[str, Any]
) -> Tuple[Array, ...]:
    """Y, Y_h (and Y_c) of an RNN, a GRU or an LSTM, each sequence ending at its own length."""
    padded = [*inputs, *([None] * (8 - len(inputs)))]
    x, w, r, b, lengths, *initial = padded
    assert x is not None
    assert w is not None
    assert r is not None
    first_is_batch = bool(given.get("layout"))
    if first_is_batch:
        x = x.swapaxes(0, 1)
        initial[:2] = [None if one is None else one.swapaxes(0, 1) for one in initial[:2]]
    directions, hidden = w.shape[0], r.shape[-1]
    steps, batch = x.shape[:2]
    lens = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    if (lens < 1).any():
        raise ValueError("a sequence with no steps: ONNX does not define its result")
    state = [
        np.zeros((directions, batch, hidden), x.dtype) if one is None else one
        for one in initial[:2]
    ]
    each = len(_DEFAULTS[name])
    # The default of the schema is for two directions, also where there is one.
    named = given.get("activations") or _DEFAULTS[name] * directions
    found = []
    for place in range(directions):
        backwards = given.get("direction") == "reverse" or place == 1
        cell = _Cell(
            name,
            w[place],
            r[place],
            None if b is None else b[place],
            None if initial[2] is None else initial[2][place],
            [_ACTIVATIONS[one.lower()] for one in named[place * each : (place + 1) * each]],
            bool(given.get("linear_before_reset")),
        )
        found.append(_along(cell, x, lens, [one[place] for one in state], backwards=backwards))
    y = np.stack([one[0] for one in found], axis=1)
    ends = [np.stack([one[1][place] for one in found]) for place in range(2)]
    if first_is_batch:
        y = y.transpose(2, 0, 1, 3)
        ends = [end.swapaxes(0, 1) for end in ends]
    results = (y, *(ends if name == "LSTM" else ends[:1]))
    return tuple(result.astype(x.dtype) for result in results)


def _along(
    cell: _Cell, x: Array, lens: Array, state: List[Array], *, backwards: bool
) -> Tuple[Array, List[Array]]:
    """What the cell gives at each step (0 behind the end of a sequence), and its last state."""
    steps = np.arange(len(x))[:, np.newaxis]
    alive = steps < lens
    # Backwards each sequence is read from its own end.
    order = np.where(alive, lens - 1 - steps, steps) if backwards else steps + 0 * lens
    columns = np.arange(x.shape[1])
    read = x[order, columns]
    given = np.zeros((*x.shape[:2], state[0].shape[-1]), state[0].dtype)
    for step, here in enumerate(alive[:, :, np.newaxis]):
        after = cell.step(read[step], *state)
        state = [np.where(here, new, old) for new, old in zip(after, state)]
        given[step] = np.where(here, after[0], 0)
    return given[order, columns], state


class _Cell:
    """One direction of a recurrent operator: what it makes of an input and its state."""

    def __init__(
        self,
        name: str,
        w: Array,
        r: Array,
        b: Optional[Array],
        peepholes: Optional[Array],
        activations: Sequence[Any],
        linear_before_reset: bool,
    ) -> None:
        self.step = {"GRU": self._gru, "LSTM": self._lstm, "RNN": self._rnn}[name]
        hidden = r.shape[-1]
        gates = len(w) // hidden
        zeros = np.zeros(2 * gates * hidden, w.dtype)
        halves = np.split(zeros if b is None else b, 2)
        self._w, self._r = w.T, r.T
        self._wb, self._rb = halves
        nothing = np.zeros(3 * hidden, w.dtype)
        self._peepholes = np.split(nothing if peepholes is None else peepholes, 3)
        self._hidden = hidden
        self._activations = activations
        self._linear = linear_before_reset

    def _rnn(self, x: Array, h: Array, c: Array) -> List[Array]:
        (f,) = self._activations
        return [f(x @ self._w + self._wb + h @ self._r + self._rb), c]

    def _lstm(self, x: Array, h: Array, c: Array) -> List[Array]:
        f, g, out = self._activations
        p_i, p_o, p_f = self._peepholes
        gates = x @ self._w + self._wb + h @ self._r + self._rb
        i, o, forget, new = np.split(gates, 4, axis=-1)
        after = f(forget + p_f * c) * c + f(i + p_i * c) * g(new)
        return [f(o + p_o * after) * out(after), after]

    def _gru(self, x: Array, h: Array, c: Array) -> List[Array]:
        f, g = self._activations
        of_input = x @ self._w + self._wb
        n = 2 * self._hidden
        z, reset = np.split(f(of_input[:, :n] + h @ self._r[:, :n] + self._rb[:n]), 2, axis=-1)
        if self._linear:
            before = reset * (h @ self._r[:, n:] + self._rb[n:])
        else:
            before = (reset * h) @ self._r[:, n:] + self._rb[n:]
        return [(1 - z) * g(of_input[:, n:] + before) + z * h, c]


def _loop(
    node: Any, most: Any, condition: Any, carried: Sequence[Any], given: Mapping[str, Any]
) -> Tuple[Any, ...]:
    """The turns of a Loop; what each gives is stacked along a new first axis."""
    body = node.body
    names, results = list(body.input_names), list(body.output_names)
    state = list(carried)
    stacked: List[List[Array]] = [[] for _ in results[1 + len(state) :]]
    going = True if condition is None else bool(condition)
    turn = 0
    while going and (most is None or turn < int(most)):
        inputs = dict(given.get("context") or {})
        inputs[names[0]] = np.array(turn, dtype=np.int64)
        inputs[names[1]] = np.array(going)
        inputs.update(zip(names[2:], state))
        made = node._run_body(inputs, attributes=given.get("attributes"))
        going, state = bool(made[0]), list(made[1 : 1 + len(state)])
        for column, value in zip(stacked, made[1 + len(state) :]):
            column.append(value)
        turn += 1
    if stacked and not turn:
        raise ValueError("a Loop with no iterations: the shape of its stacked outputs is unknown")
    return (*state, *(np.stack(column) for column in stacked))
