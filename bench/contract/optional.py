"""What a backend promises that offers more than it must: the checks of `bench.capabilities`.

Each check passes for a backend that doesn't offer what it is about.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from bench.backend import Placement, Session
from bench.capabilities import (
    QUERIES_PER_STREAM,
    TRIAL_BATCH,
    ChecksDrafts,
    DecodesFromState,
    DecodingStream,
    DeviceTime,
    ExplainsAbsence,
    NativeTimer,
    ProfilesPlacement,
    Reading,
    ReportsDeviceMemory,
    Streams,
    Telemetry,
    TimesCopies,
    TimesDevice,
    Tunable,
    declaration,
)
from bench.contract.decoders import VOCABULARY, DecoderExample
from bench.contract.models import Example
from bench.contract.subject import Subject, assert_close, attempt, raises
from bench.errors import BenchError, SpecError, Unavailable, Unsupported
from bench.worker.timing import time_calls

_VARIANTS = {"fp32", "fp16", "bf16", "int8-dynamic", "int8-static", "int4"}
#: So many calls are watched.
_WATCHED = 8
#: Clocks that the runtime reads may differ from ours by so much, relatively.
_CLOCKS_DIFFER = 0.1

_Wanted = TypeVar("_Wanted")


@contextlib.contextmanager
def _fresh(subject: Subject, example: Example, batch: int = 3) -> Iterator[Session]:
    """A session that no other check has bound anything in."""
    session = subject.compile(example.file, shapes=example.shapes(batch))
    with contextlib.closing(session):
        yield session


def _offered(action: Callable[[], _Wanted]) -> _Wanted | None:
    """None where it is refused as unsupported: on this device, or by this build of the runtime."""
    try:
        return action()
    except Unsupported:
        return None


def check_what_it_declares_is_well_formed(subject: Subject) -> None:
    """Known variants; trials that are options as text; named environments, each with its steps."""
    declared = declaration(type(subject.backend))
    assert declared.variants
    assert set(declared.variants) <= _VARIANTS
    for trial in declared.trials:
        assert trial
        assert all(isinstance(text, str) for pair in trial.items() for text in pair)
    for name, tunable in declared.tunables.items():
        assert isinstance(tunable, Tunable), f"a value of `tunables` is a Tunable: {tunable!r}"
        assert len(tunable.values) != 1, f"{name}: one value leaves nothing to tune"
        assert all(isinstance(text, str) and text for text in (name, *tunable.values))
        assert set(tunable.lingers_s) <= set(tunable.values)
    assert all(isinstance(module, str) and module for module in declared.imports_to_load)
    for name, steps in declared.requirements.items():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)  # as behind the `@` of a target
        assert steps
        for step in steps:
            assert isinstance(step, tuple), f"a step is a tuple of arguments: {step!r}"
            assert step
            assert all(isinstance(argument, str) for argument in step)


def check_it_knows_the_options_that_it_wants_tried(subject: Subject) -> None:
    """Each of its ``trials`` compiles, or is refused for another reason than its options."""
    for trial in declaration(type(subject.backend)).trials:
        try:
            shapes = subject.conv.shapes(TRIAL_BATCH)
            session = subject.compile(subject.conv.file, shapes=shapes, extra=dict(trial))
        except SpecError:
            raise
        except BenchError:
            continue
        session.close()


def check_it_knows_the_options_that_it_wants_tuned(subject: Subject) -> None:
    """The last values of its ``tunables``, all together, compile, or are refused for another reason
    than that it doesn't know them."""
    kind = subject.device.id.partition(":")[0]
    extra = {
        name: tunable.values[-1] if tunable.values else "2"
        for name, tunable in declaration(type(subject.backend)).tunables.items()
        if not tunable.kinds or kind in tunable.kinds
    }
    if not extra:
        return
    try:
        shapes = subject.conv.shapes(TRIAL_BATCH)
        session = subject.compile(subject.conv.file, shapes=shapes, extra=extra)
    except SpecError:
        raise
    except BenchError:
        return
    session.close()


def check_one_that_moves_stays_where_it_is_put(subject: Subject) -> None:
    """Once inputs are bound, this thread is put on one CPU, and is still there after calls."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(allowed) < 2 or not declaration(type(subject.backend)).moves:
        return
    with _fresh(subject, subject.conv) as session:
        call = session.bind(subject.conv.feeds(3, 8))
        call()
        here = {max(allowed)}
        os.sched_setaffinity(0, here)
        try:
            for _ in range(_WATCHED):
                call()
            found = os.sched_getaffinity(0)
        finally:
            os.sched_setaffinity(0, allowed)
        assert found == here, f"it `moves`, and went from CPU {here} to {found}: leave `moves` out"


def check_streams_compute_the_model(subject: Subject) -> None:
    """The right outputs are there when the call returns, however often; or it says that it can't
    run several streams."""
    for feeds, session in _streaming(subject):
        call, refusal = attempt(partial(session.bind_streams, feeds, 2))
        if refusal:  # a captured graph, for example, has its one stream
            assert "stream" in refusal
            return
        for _ in range(3):
            call()
            assert_close(session.fetch(), subject.conv.right(feeds))


def check_streams_copy_their_inputs(subject: Subject) -> None:
    """Overwriting the arrays afterwards changes no result."""
    for feeds, session in _streaming(subject):
        right = subject.conv.right(feeds)
        call = _offered(partial(session.bind_streams, feeds, 2))
        if call is not None:
            feeds["x"][...] = 0
            call()
            assert_close(session.fetch(), right)


def check_streams_make_all_their_queries(subject: Subject) -> None:
    """One call of two streams takes at least as long as half the queries of one of them, each as
    a call of its own: so none is left out."""
    for feeds, session in _streaming(subject, batch=64):
        call = _offered(partial(session.bind_streams, feeds, 2))
        if call is not None:
            alone = session.bind(feeds)
            call(), alone()
            # In turn, so that whatever else the machine does slows both of a pair down.
            turns = [(time_calls(call, 1)[0], time_calls(alone, 2)[1]) for _ in range(20)]
            queries = np.median([together / one for together, one in turns])
            assert queries > QUERIES_PER_STREAM / 2


class _StreamingSession(Session, Streams, Protocol):
    """A session that can run streams."""


def _streaming(
    subject: Subject, batch: int = 3
) -> Iterator[tuple[dict[str, np.ndarray], _StreamingSession]]:
    """Inputs, and a session where it can run streams."""
    with _fresh(subject, subject.conv, batch) as session:
        if isinstance(session, Streams):
            yield subject.conv.feeds(batch, 8), session


def check_the_native_loop_computes_the_model(subject: Subject) -> None:
    """As many latencies as asked for, in ns, and the right outputs left of copied inputs."""
    for example in (subject.conv, subject.many, subject.embed):
        with _fresh(subject, example) as session:
            if not isinstance(session, NativeTimer):
                return
            feeds = example.feeds(3, 8)
            right = example.right(feeds)
            timer = _offered(partial(session.native_timer, feeds, time_calls))
            if timer is None:
                return
            for array in feeds.values():
                array[...] = 0
            for calls in (1, 5):
                latency_ns = timer(calls)
                assert latency_ns.dtype == np.int64
                assert latency_ns.shape == (calls,)
                assert (latency_ns > 0).all()
            assert_close(session.fetch(), right)


def check_the_native_loop_times_what_it_does(subject: Subject) -> None:
    """The latencies of many calls add up to most of the time that they took."""
    with _fresh(subject, subject.conv, 64) as session:
        if not isinstance(session, NativeTimer):
            return
        timer = _offered(lambda: session.native_timer(subject.conv.feeds(64, 8), time_calls))
        if timer is None:
            return
        timer(5)
        started = time.perf_counter_ns()
        latency_ns = timer(50)
        took_ns = time.perf_counter_ns() - started
        assert took_ns / 2 < latency_ns.sum() < took_ns * (1 + _CLOCKS_DIFFER)


def check_copy_times_are_as_many_as_asked_for(subject: Subject) -> None:
    """``h2d_ns`` and ``d2h_ns``, in whole ns, no more than the time that they took together."""
    with _fresh(subject, subject.many) as session:
        if not isinstance(session, TimesCopies):
            return
        feeds = subject.many.feeds(3, 9)
        started = time.perf_counter_ns()
        times, refusal = attempt(lambda: session.copy_times(feeds, 4))
        took_ns = time.perf_counter_ns() - started
        if refusal:
            return
        assert {"h2d_ns", "d2h_ns"} <= set(times)
        for name, values in times.items():
            assert name.endswith("_ns")
            assert len(values) == 4
            assert all(int(ns) == ns >= 0 for ns in values)
        copies_ns = sum(times["h2d_ns"]) + sum(times["d2h_ns"])
        assert copies_ns < took_ns * (1 + _CLOCKS_DIFFER)


def check_timing_copies_leaves_what_is_bound(subject: Subject) -> None:
    """The bound call computes what it did, and `fetch` gives what it gave."""
    with _fresh(subject, subject.many) as session:
        if not isinstance(session, TimesCopies):
            return
        feeds, others = subject.many.feeds(3, 2), subject.many.feeds(3, 3)
        right = subject.many.right(feeds)
        call = session.bind(feeds)
        call()
        attempt(lambda: session.copy_times(others, 2))
        assert_close(session.fetch(), right)
        call()
        assert_close(session.fetch(), right)


def check_the_devices_own_time_is_within_that_of_its_calls(subject: Subject) -> None:
    """Of one call in ns, above 0 and no longer than a call takes while it is watched; the bound
    call computes what it did, and `fetch` gives what it gave."""
    with _fresh(subject, subject.many) as session:
        if not isinstance(session, TimesDevice):
            return
        feeds = subject.many.feeds(3, 2)
        right = subject.many.right(feeds)
        call = session.bind(feeds)
        call()
        started = time.perf_counter_ns()
        found, refusal = attempt(lambda: session.device_time(_WATCHED))
        took_ns = time.perf_counter_ns() - started
        assert_close(session.fetch(), right)
        call()
        assert_close(session.fetch(), right)
        if not refusal:
            assert isinstance(found, DeviceTime)
            assert 0 < found.ns < took_ns / _WATCHED * (1 + _CLOCKS_DIFFER)


def check_a_profiled_placement_is_the_placement_and_more(subject: Subject) -> None:
    """The same nodes on the same devices; shares of the time are fractions, and add up to 1 at
    most."""
    with _fresh(subject, subject.conv) as session:
        if not isinstance(session, ProfilesPlacement):
            return
        found, plain = session.profiled_placement(subject.conv.feeds(3, 0)), session.placement()
        assert isinstance(found, Placement)
        assert found.source
        assert found.nodes == plain.nodes
        assert len(found.off_device) == len(plain.off_device)
        assert all(0 <= share <= 1 for share in found.time_share.values())
        assert sum(found.time_share.values()) < 1 + 1e-6


def check_steps_go_on_from_the_state_that_the_last_one_left(subject: Subject) -> None:
    """However a text is cut into steps, the logits are those of the whole text so far; `position`
    counts its tokens, and after `reset` another one begins."""
    for streams in _decoding(subject):
        stream = streams(2, 14)
        for text, sizes in ((0, (9, 1, 1, 2, 1)), (1, (1,) * 14), (0, (14,))):
            tokens = _text(text)
            stream.reset()
            for count in sizes:
                begin, end = stream.position, stream.position + count
                logits = stream.step(tokens[:, begin:end])
                assert stream.position == end
                assert logits.dtype == np.float32
                assert_close([logits], [decoder_of(subject).right(tokens[:, :end])])


def check_steps_copy_their_tokens_and_logits(subject: Subject) -> None:
    """Tokens may be overwritten after a step, and what it gave isn't by the next one."""
    for streams in _decoding(subject):
        stream, text = streams(2, 14), _text(2)
        given = text[:, :5].copy()
        first = stream.step(given)
        given[...] = 0
        kept = first.copy()
        assert_close([stream.step(text[:, 5:6])], [decoder_of(subject).right(text[:, :6])])
        assert_close([first], [kept], 0)


def check_two_streams_are_independent(subject: Subject) -> None:
    """Of one session, in turn, of different batches."""
    for streams in _decoding(subject):
        one, other = streams(2, 14), streams(1, 8)
        mine, its = _text(3), _text(4)[:1]
        one.step(mine[:, :6]), other.step(its[:, :3])
        for place in range(4):
            ends = 7 + place, 4 + place
            logits = one.step(mine[:, ends[0] - 1 : ends[0]])
            assert_close([logits], [decoder_of(subject).right(mine[:, : ends[0]])])
            logits = other.step(its[:, ends[1] - 1 : ends[1]])
            assert_close([logits], [decoder_of(subject).right(its[:, : ends[1]])])
        one.reset()
        assert one.position == 0
        assert other.position == 7


def check_steps_that_do_not_fit_are_refused_and_change_nothing(subject: Subject) -> None:
    """`SpecError` for more tokens than the capacity, no token, another type or batch."""
    for streams in _decoding(subject):
        stream, text = streams(2, 8), _text(5)
        stream.step(text[:, :7])
        narrow: np.ndarray = text[:, 7:8].astype(np.int32)
        for bad in (text[:, 7:9], text[:, :0], text[:1, 7:8], narrow):
            with raises(SpecError):
                stream.step(bad)
        assert stream.position == 7
        assert_close([stream.step(text[:, 7:8])], [decoder_of(subject).right(text[:, :8])])
        with raises(SpecError):
            stream.step(text[:, 8:9])


def check_drafts_are_checked_and_taken_back(subject: Subject) -> None:
    """A step of several tokens gives logits behind each, the last of them those of a step; what was
    kept can be gone back to, as often as one likes; a state that can't be cut says so."""
    for streams in _decoding(subject):
        stream, text, other = streams(2, 14), _text(6), _text(7)
        if not isinstance(stream, ChecksDrafts):
            return
        right = decoder_of(subject).right
        nothing = stream.keep()
        stream.step(text[:, :6])
        kept = stream.keep()
        for drafted, count in ((other, 5), (text, 8), (other, 2)):
            tokens = drafted[:, 6 : 6 + count]
            logits = stream.step_each(tokens)
            assert stream.position == 6 + count
            assert logits.shape == (2, count, VOCABULARY)
            assert logits.dtype == np.float32
            whole = np.concatenate([text[:, :6], tokens], axis=1)
            assert_close([logits[:, -1]], [right(whole)])
            stream.put_back(kept)
            assert stream.position == 6
        assert_close([stream.step(text[:, 6:7])], [right(text[:, :7])])
        stream.put_back(nothing)
        assert_close([stream.step(other[:, :5])], [right(other[:, :5])])
        if not decoder_of(subject).decoder.cuts:
            assert not stream.cuts
            with raises(Unsupported):
                stream.cut(3)
            assert stream.position == 5


def _text(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCABULARY, (2, 14))


def _decoding(subject: Subject) -> Iterator[Callable[[int, int], DecodingStream]]:
    """Makes streams of so many texts of so many tokens, where sessions decode from their state."""
    if not isinstance(subject.session(subject.conv), DecodesFromState):
        return  # nor does a session of another model
    example = decoder_of(subject)
    session = _offered(lambda: subject.compile(example.file))
    if session is None:  # it compiles for shapes alone
        return
    with contextlib.closing(session):
        assert isinstance(session, DecodesFromState)
        if _offered(partial(session.decoding, example.decoder, 2, 14)) is not None:
            yield partial(session.decoding, example.decoder)


def decoder_of(subject: Subject) -> DecoderExample:
    """The language model in the form that the subject's device takes."""
    kind = subject.device.id.partition(":")[0]
    static = kind in declaration(type(subject.backend)).static_shapes
    return subject.static_decoder if static else subject.decoder


def check_the_devices_memory_is_in_bytes(subject: Subject) -> None:
    """Free and total, the first no more than the second, which is what the device says it has."""
    if not isinstance(subject.backend, ReportsDeviceMemory):
        return
    found = subject.backend.device_memory(subject.device)
    if found is None:
        return
    free, total = found
    assert isinstance(free, int)
    assert isinstance(total, int)
    assert 0 <= free <= total
    said = subject.device.memory_bytes
    # What the driver and error correction keep is in the one and not in the other.
    assert said is None or said / 2 < total < said * 2


def check_telemetry_is_in_its_units(subject: Subject) -> None:
    """Known facts alone, in W, Hz and bytes, and throttling in words; it never raises."""
    if not isinstance(subject.backend, Telemetry):
        return
    session = subject.session(subject.conv)
    session.bind(subject.conv.feeds(3, 0))()
    reading = subject.backend.telemetry(subject.device)
    assert set(reading) <= set(Reading.__annotations__)
    # Between a microcontroller's and a rack's, between 1 MHz and 100 GHz.
    assert 0 <= reading.get("power_w", 1.0) < 1e5
    for clock_hz in (
        reading.get("clock_hz", 1e9),
        reading.get("default_clock_hz", 1e9),
        reading.get("memory_clock_hz", 1e9),
    ):
        assert 1e6 <= clock_hz < 1e11
    assert -50 <= reading.get("temperature_c", 20.0) < 200
    reasons = reading.get("throttled", [])
    assert isinstance(reasons, list)
    assert all(isinstance(why, str) and why for why in reasons)
    held = reading.get("memory_bytes", 0)
    assert isinstance(held, int)
    assert held >= 0


def check_absent_devices_are_explained(subject: Subject) -> None:
    """`Unavailable` in one clear line: by kind where `devices` lists none of it, else by id."""
    if not isinstance(subject.backend, ExplainsAbsence):
        return
    listed = {device.id for device in subject.backend.devices()}
    kinds = {device_id.partition(":")[0] for device_id in listed}
    for key, why in subject.backend.absent_devices().items():
        kind, colon, _ = key.partition(":")
        assert key not in listed
        assert (kind in kinds) == bool(colon), "a kind where none of it is there, else an id"
        assert isinstance(why, Unavailable)
        assert len(str(why)) > 20, "say what happened, where, and what to do"
        assert "\n" not in str(why)
