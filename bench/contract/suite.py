"""What every backend promises, as one list of checks. `test_contract.py` runs it.

To run it on a backend of your own: install your distribution, with its entry point in the group
``bench.backends``, next to `bench`, and

    bench debug selftest --contract your-backend

Every device that your ``devices()`` lists is tested; a backend that raises `Unavailable` is skipped
with its reason. It needs the extra `contract`. A check is a function ``check_...(subject)``
whose name and first line say what is promised; those of what a backend may offer besides
(`bench.capabilities`) are in `optional.py`, and pass for whoever doesn't offer it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.backend import ModelFile, Options, Placement, Session
from bench.contract import optional
from bench.contract.subject import Subject, assert_close, assert_right, attempt, raises
from bench.errors import BenchError, SpecError, Unavailable, Unsupported


def check_it_declares_what_it_is(subject: Subject) -> None:
    """What `bench` reads from the class before any process of it runs."""
    backend = type(subject.backend)
    assert backend.name
    assert backend.forms
    assert set(backend.forms) <= {"onnx", "torch"}
    assert all(isinstance(module, str) for module in backend.preload)
    assert isinstance(backend.fork_safe, bool)
    for key, value in backend.environment.items():
        assert isinstance(key, str)
        assert isinstance(value, str)


def check_it_says_which_version_it_is(subject: Subject) -> None:
    """`version` begins with a digit."""
    version = subject.backend.version()
    assert version
    assert version[0].isdigit(), version


def check_its_devices_have_unique_ids_and_a_name(subject: Subject) -> None:
    """Ids are lower-case words with an optional number behind a colon."""
    devices = subject.backend.devices()
    ids = [device.id for device in devices]
    assert subject.device.id in ids
    assert len(set(ids)) == len(ids)
    for device in devices:
        kind, _, number = device.id.partition(":")
        assert kind == kind.lower()
        assert not number or number.isdigit()
        assert device.name
        assert device.memory_bytes is None or device.memory_bytes > 0


def check_the_specs_name_inputs_and_outputs(subject: Subject) -> None:
    """In order, with numpy's type names; a size is the one compiled for, or -1."""
    for example in subject.examples():
        session = subject.session(example)
        session.run(example.feeds(3, 0))  # some runtimes know their outputs only now
        assert [spec.name for spec in session.inputs] == [spec.name for spec in example.inputs]
        assert len(session.outputs) == len(example.outputs)
        for have, want in zip(
            [*session.inputs, *session.outputs], [*example.inputs, *example.outputs], strict=True
        ):
            if not have.dtype:  # the runtime takes what it is given
                continue
            assert have.dtype == want.dtype
            assert len(have.shape) == len(want.shape)
            for had, wanted in zip(have.shape, want.shape, strict=True):
                assert had in (-1, 3 if wanted == -1 else wanted), f"{have} for {want}"


def check_without_shapes_the_batch_stays_dynamic(subject: Subject) -> None:
    """Compiled without shapes, it takes any batch; or the backend says that it needs shapes."""
    session, refusal = attempt(lambda: subject.compile(subject.many.file))
    if refusal:
        assert "shape" in refusal
        return
    with contextlib.closing(session):
        for spec in session.inputs:
            assert not spec.dtype or spec.shape[0] == -1
        for batch in (1, 5):
            assert_right(subject.many, session, batch)


def check_run_computes_the_model(subject: Subject) -> None:
    """For floats, for integers, and for several inputs and outputs."""
    for example in subject.examples():
        assert_right(example, subject.session(example), 3)


def check_every_batch_size_computes_the_model(subject: Subject) -> None:
    """Batches of 1, 3 and 8."""
    for batch in (1, 3, 8):
        assert_right(subject.conv, subject.session(subject.conv, batch), batch)


def check_another_batch_than_compiled_for_is_right_or_refused(subject: Subject) -> None:
    """Never a wrong result, never an error that isn't a `BenchError`."""
    session = subject.session(subject.conv, 3)
    feeds = subject.conv.feeds(5, 1)
    outputs, refusal = attempt(lambda: session.run(feeds))
    if refusal:
        assert "'x'" in refusal, "the message has to name the input"
    else:
        assert_close(outputs, subject.conv.right(feeds))


def check_the_bound_call_leaves_what_run_returns(subject: Subject) -> None:
    """`bind`, call, `fetch`; calling again changes nothing."""
    for example in subject.examples():
        session = subject.session(example)
        feeds = example.feeds(3, 2)
        call = session.bind(feeds)
        for _ in range(3):
            call()
            assert_close(session.fetch(), example.right(feeds))
        assert_close(session.fetch(), session.run(feeds), 1e-6)


def check_the_call_returns_when_the_outputs_exist(subject: Subject) -> None:
    """What is fetched right behind the first call is complete, every time."""
    session = subject.session(subject.conv, 8)
    for seed in range(20):
        feeds = subject.conv.feeds(8, seed)
        session.bind(feeds)()
        assert_close(session.fetch(), subject.conv.right(feeds))


def check_bind_copies_its_inputs(subject: Subject) -> None:
    """Overwriting the arrays afterwards changes no result."""
    session = subject.session(subject.many)
    feeds = subject.many.feeds(3, 3)
    right = subject.many.right(feeds)
    call = session.bind(feeds)
    for array in feeds.values():
        array[...] = 0
    call()
    assert_close(session.fetch(), right)


def check_two_bound_calls_are_independent(subject: Subject) -> None:
    """Earlier calls stay valid, `fetch` follows the one bound last, what it gave stays."""
    session = subject.session(subject.many)
    first, second = subject.many.feeds(3, 4), subject.many.feeds(3, 5)
    call_first = session.bind(first)
    call_first()
    fetched = session.fetch()
    call_second = session.bind(second)
    call_second()
    call_first()
    assert_close(session.fetch(), subject.many.right(second))
    assert_close(fetched, subject.many.right(first))


def check_inputs_in_any_memory_order_are_right(subject: Subject) -> None:
    """Arrays that are views, reversed or in Fortran's order."""
    session = subject.session(subject.conv)
    x = subject.conv.feeds(3, 6)["x"]
    for odd in (np.asfortranarray(x), x[::-1], np.repeat(x, 2, axis=3)[..., ::2]):
        right = subject.conv.right({"x": odd})
        assert_close(session.run({"x": odd}), right)
        session.bind({"x": odd})()
        assert_close(session.fetch(), right)


def check_fetching_before_the_first_call_is_refused(subject: Subject) -> None:
    """Buffers that nothing was computed into are no outputs."""
    session = subject.session(subject.conv)
    session.bind(subject.conv.feeds(3, 7))
    with raises(BenchError):
        session.fetch()


def check_the_api_call_computes_the_model(subject: Subject) -> None:
    """The lane of the runtime's own users gives the same numbers."""
    for example in (subject.conv, subject.many):
        session = subject.session(example)
        feeds = example.feeds(3, 8)
        result: Any = session.api_call(feeds)()
        if result is not None:
            values = result.values() if hasattr(result, "values") else result
            assert_close([np.asarray(value) for value in values], example.right(feeds))


def check_a_missing_input_is_named(subject: Subject) -> None:
    """`SpecError` with the input's name."""
    session = subject.session(subject.many)
    feeds = {"a": subject.many.feeds(3, 0)["a"]}
    _assert_refused(session, feeds, "b")


def check_an_unknown_input_is_named(subject: Subject) -> None:
    """`SpecError` with the input's name."""
    session = subject.session(subject.conv)
    feeds = {**subject.conv.feeds(3, 0), "surplus": np.zeros(3, np.float32)}
    _assert_refused(session, feeds, "surplus")


def check_a_wrong_type_is_named(subject: Subject) -> None:
    """`SpecError` with the input's name, not a conversion in silence."""
    x = subject.conv.feeds(3, 0)["x"]
    _assert_refused(subject.session(subject.conv), {"x": x.astype(np.float64)}, "x")
    if subject.embed in subject.examples():
        ids = subject.embed.feeds(3, 0)["ids"]
        _assert_refused(subject.session(subject.embed), {"ids": ids.astype(np.float32)}, "ids")


def check_a_wrong_shape_is_named(subject: Subject) -> None:
    """`SpecError` with the input's name, for a wrong size and a wrong rank."""
    session = subject.session(subject.conv)
    for shape in ((3, 4, 16, 16), (3, 16)):
        _assert_refused(session, {"x": np.ones(shape, np.float32)}, "x")


def check_an_unknown_option_is_refused(subject: Subject) -> None:
    """`SpecError` that names it, and the options that there are."""
    with raises(SpecError) as caught:
        subject.compile(subject.conv.file, extra={"no_such_option": "1"})
    assert "no_such_option" in str(caught[0])
    assert "knows" in str(caught[0]), "the message has to say which options it knows"


def check_an_unknown_device_is_unavailable(subject: Subject) -> None:
    """`Unavailable`, not another device in its place."""
    elsewhere = dataclasses.replace(subject.device, id="nowhere:9")
    with raises(Unavailable):
        subject.backend.compile(subject.conv.file, elsewhere, Options())


def check_an_unknown_operator_is_unsupported(subject: Subject) -> None:
    """`Unsupported` that names the operator (or the form of model that the backend lacks)."""
    with raises(Unsupported) as caught:
        subject.compile(subject.unknown_op)
    text = str(caught[0])
    assert "Frobnicate" in text or "has no" in text, text


def check_a_model_in_no_form_is_unsupported(subject: Subject) -> None:
    """`Unsupported`, whichever form the backend takes."""
    with raises(Unsupported):
        subject.compile(ModelFile("nothing"))


def check_a_truncated_file_is_refused(subject: Subject) -> None:
    """`SpecError` that names the file."""
    with raises(SpecError) as caught:
        subject.compile(subject.truncated)
    assert "truncated" in str(caught[0])


def check_a_missing_file_is_refused(subject: Subject) -> None:
    """`SpecError` that names the file."""
    source = subject.conv.file.torch
    assert source
    gone = ModelFile(
        "gone", Path("gone.onnx"), dataclasses.replace(source, weights=Path("gone.safetensors"))
    )
    with raises(SpecError) as caught:
        subject.compile(gone)
    assert "gone" in str(caught[0])


def check_the_placement_is_known_and_on_the_device(subject: Subject) -> None:
    """Some nodes, all of them on the device that was asked for, and how that is known."""
    session = subject.session(subject.conv)
    session.bind(subject.conv.feeds(3, 0))()
    placement = session.placement()
    assert isinstance(placement, Placement)
    assert placement.source
    assert placement.off_device == ()
    assert set(placement.nodes) == {subject.device.id}
    assert sum(placement.nodes.values()) > 0


def check_the_placement_is_known_after_an_api_call(subject: Subject) -> None:
    """Without anything bound."""
    session = subject.compile(subject.many.file, shapes=subject.many.shapes(3))
    with contextlib.closing(session):
        session.api_call(subject.many.feeds(3, 0))()
        assert set(session.placement().nodes) == {subject.device.id}


def check_closing_twice_does_nothing(subject: Subject) -> None:
    """And leaves other sessions alone."""
    other = subject.session(subject.many)
    session = subject.compile(subject.many.file, shapes=subject.many.shapes(3))
    assert_right(subject.many, session, 3)
    session.close()
    session.close()
    assert_right(subject.many, other, 3)


def _assert_refused(session: Session, feeds: Mapping[str, np.ndarray], name: str) -> None:
    """By `run`, and by `bind` or the first call."""
    refusals: tuple[Callable[[], object], ...] = (
        lambda: session.run(feeds),
        lambda: session.bind(feeds)(),
    )
    for refused in refusals:
        with raises(SpecError) as caught:
            refused()
        assert name in str(caught[0]), f"{name!r} is not named: {caught[0]}"


#: Every check, by name: those of the contract, then those of what a backend may offer besides.
CHECKS: dict[str, Callable[[Subject], None]] = {
    name: value
    for place in (globals(), vars(optional))
    for name, value in list(place.items())
    if name.startswith("check_")
}
