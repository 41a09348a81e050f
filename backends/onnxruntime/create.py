"""Makes sessions of ONNX Runtime, and says why one can't be made."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Sequence

from bench.errors import (
    BenchError,
    OutOfMemory,
    SpecError,
    Unavailable,
    Unsupported,
    as_sentence,
    says_out_of_memory,
)

from ..shared import tiny
from ..shared.captured import captured_stderr
from ..shared.checks import first_line, is_out_of_memory, read_extra
from .messages import LACKS, cause_in, describe, reasons, without_place
from .recipe import INFORMATION, SESSION_OPTIONS, Recipe, elsewhere


def create(recipe: Recipe) -> Any:
    """The session, started on its provider. Raises a `BenchError` that says why there is none."""
    recipe.provider.require_in(recipe.ort, recipe.target)
    try:
        session = recipe.open(recipe.session_options())
    except Exception as error:
        raise explain(error, recipe) from error
    if recipe.ep not in session.get_providers():
        raise _why_not_started(recipe)
    return session


def touch(recipe: Recipe) -> None:
    """Raise `Unavailable` unless the device computes the smallest model right, all of it there."""
    small = replace(recipe, model=tiny.ONNX, strict=True, sizes={}, where=recipe.target)
    try:
        session = create(small)
        outputs = session.run(None, tiny.FEEDS)
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(f"{recipe.target} is not available: {first_line(error)}.") from error
    if not tiny.is_right(outputs[0]):
        raise Unavailable(f"{recipe.target} is not available: it computes max(x, 0) incorrectly.")
    if elsewhere(session, small):  # whatever the strict option let pass
        raise Unavailable(f"{recipe.target} is not available: it can't even run a Relu.")


def explain(error: Exception, recipe: Recipe) -> BaseException:
    """What an error during creation means to a user."""
    where = recipe.where
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
    if isinstance(error, BenchError):
        return error
    if is_out_of_memory(error) and recipe.model != tiny.ONNX:
        said = cause_in([reason]).strip() or reason
        return OutOfMemory(f"{where}: no memory to load it: {said}. Use a smaller model.")
    lacking = LACKS.search(str(error))
    if lacking:
        op = next(group for group in lacking.groups() if group)
        return Unsupported(f"{where}: the operator {op} is not supported: {reason}.")
    if "fallback to CPU EP has been explicitly disabled" in str(error):
        return _why_not_all(recipe)
    if recipe.model == tiny.ONNX:
        return _why_not_started(recipe, reason)
    bad_file = any(code in str(error) for code in _BAD_FILE)
    if recipe.provider.kind != "cpu" and not bad_file:
        return _why_not_compiled(recipe, reason)
    return SpecError(f"{recipe.model}: onnxruntime can't load it: {reason}. Is the file whole?")


#: How CUDA words that a device is another process's alone (cudaErrorDevicesUnavailable).
_TAKEN = "busy or unavailable"
#: ONNX Runtime's codes for what is wrong with a model whatever the provider.
_BAD_FILE = ("INVALID_PROTOBUF", "INVALID_GRAPH", "NO_SUCHFILE", "NO_MODEL")


def _why_not_compiled(recipe: Recipe, reason: str) -> BenchError:
    """The device is absent, or the provider refuses an option, or it can't compile this model."""
    try:
        touch(recipe)
    except BenchError as absent:
        plain = read_extra(recipe.target, {}, {**SESSION_OPTIONS, **recipe.provider.options})
        if plain == recipe.extra:
            return absent
        try:
            touch(replace(recipe, extra=plain))
        except BenchError as still_absent:
            return still_absent
        reason = getattr(absent, "reason", str(absent)).partition(" is not available: ")[2]
        return SpecError(f"{recipe.target} refuses its options: {reason}")
    return Unsupported(
        f"{recipe.where}: {recipe.ep} can't compile it: {reason}. Try another target."
    )


def _why_not_all(recipe: Recipe) -> BenchError:
    """Strictly refused: the provider did not start, or did not take all nodes. Which ones?"""
    relaxed = replace(recipe, strict=False)
    try:
        with captured_stderr() as lines:
            session = relaxed.open(relaxed.session_options(INFORMATION))
    except Exception as error:
        return _absent(recipe, lines, first_line(error))
    if recipe.ep not in session.get_providers():
        return _absent(recipe, lines, "it did not start")
    missing = elsewhere(session, recipe)
    if recipe.model == tiny.ONNX:
        return Unavailable(
            f"{recipe.target} is not available: {recipe.ep} starts but can't even run a Relu."
        )
    free = any(not isinstance(dim, int) for spec in session.get_inputs() for dim in spec.shape)
    hint = " Its inputs have no fixed shapes, which some providers need." if free else ""
    if missing and len(missing) == _node_count(session):
        return Unsupported(
            f"{recipe.where}: {recipe.ep} can run none of its {len(missing)} nodes.{hint}"
        )
    # Old releases can't name them.
    named = ", ".join(describe(node, reasons(lines)) for node in missing[:3]) or "unknown"
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return Unsupported(
        f"{recipe.where}: some nodes can only run on the CPU: {named}{more}.{hint} "
        "Use --allow-fallback to run them there and report them."
    )


def _why_not_started(recipe: Recipe, reason: str = "it did not start") -> Unavailable:
    """The true cause stands on file descriptor 2 only, so what failed is tried once more."""
    with captured_stderr() as lines:
        try:
            recipe.open(recipe.session_options())
        except Exception as error:
            reason = first_line(error)
    return _absent(recipe, lines, reason)


def _node_count(session: Any) -> int:
    return sum(len(part.get_nodes()) for part in session.get_provider_graph_assignment_info())


def _absent(recipe: Recipe, lines: Sequence[str], otherwise: str) -> Unavailable:
    """The cause as the provider printed it, else ``otherwise``, and what to do about it."""
    cause = (cause_in(lines) or cause_in([otherwise]) or without_place(otherwise)).strip()
    taken = says_out_of_memory(cause) or _TAKEN in cause  # nothing is missing then
    return Unavailable(
        f"{recipe.target} is not available: {as_sentence(cause)}",
        "Another process may hold it." if taken else recipe.provider.needs,
    )
