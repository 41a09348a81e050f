"""Backends that break one promise each, to prove that the suite notices."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from bench.backends.onnx_reference import OnnxReference

from bench.backend import Device, Feeds, ModelFile, Options, Placement
from bench.capabilities import (
    QUERIES_PER_STREAM,
    DecodingStream,
    DeviceTime,
    Logits,
    Nanoseconds,
    TimeCalls,
    Tunable,
)
from bench.decoding import Decoder
from bench.errors import BenchError, Unavailable, Unsupported
from bench.steps import RunSteps


class Wrapped:
    """A session that passes everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.inputs = inner.inputs
        self.outputs = inner.outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Honest(OnnxReference):
    """Keeps every promise; the others change one thing."""

    wrapper: type[Wrapped] = Wrapped

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        return self.wrapper(super().compile(model, device, options))


class ZerosSession(Wrapped):
    def run(self, feeds: Feeds) -> list[np.ndarray]:
        return [np.zeros_like(array) for array in self.inner.run(feeds)]


class ComputesZeros(Honest):
    wrapper = ZerosSession


class IgnoresOptions(Honest):
    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        return super().compile(model, device, replace(options, extra={}))


class TakesAnyDevice(Honest):
    """The silent fallback."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        return super().compile(model, replace(device, id="cpu"), options)


class AliasingSession(Wrapped):
    """Keeps the caller's arrays instead of copies."""

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self.result: list[np.ndarray] = []

        def call() -> None:
            self.result = self.inner.run(feeds)

        return call

    def fetch(self) -> list[np.ndarray]:
        if not self.result:
            raise BenchError("nothing has been computed here yet; call first.")
        return self.result


class AliasesInputs(Honest):
    wrapper = AliasingSession


class AsynchronousSession(AliasingSession):
    """Its call returns before the outputs exist."""

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self.result = [np.zeros((len(next(iter(feeds.values()))), 10), np.float32)]

        def compute() -> None:
            time.sleep(0.01)
            with contextlib.suppress(BenchError):
                self.result = self.inner.run(feeds)

        return lambda: threading.Thread(target=compute).start()


class ReturnsTooEarly(Honest):
    wrapper = AsynchronousSession


class CastingSession(Wrapped):
    """Makes whatever it is fed fit."""

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        return self.inner.run(
            {spec.name: np.asarray(feeds[spec.name]).astype(spec.dtype) for spec in self.inputs}
        )


class CastsInputs(Honest):
    wrapper = CastingSession


class ElsewhereSession(Wrapped):
    def placement(self) -> Placement:
        return Placement({"cpu": 1, "npu:0": 3}, "made up", ("Conv (cpu)",))


class PlacesElsewhere(Honest):
    wrapper = ElsewhereSession


class CrashesOnBadFiles(Honest):
    """Lets the runtime's own exception through."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        try:
            return super().compile(model, device, options)
        except BenchError as error:
            raise RuntimeError("parser error at line 1") from error


class Spins(Honest):
    """Has a thread that never sleeps, from its first session on."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        def spin() -> None:
            while True:
                pass

        threading.Thread(target=spin, daemon=True).start()
        return super().compile(model, device, options)


# What a backend may offer besides (`bench.capabilities`): an honest one, then broken promises.


class CapableSession(Wrapped):
    """Offers all that a session may."""

    left: list[np.ndarray] | None = None

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self.left = None
        call: Callable[[], object] = self.inner.bind(feeds)
        self.call = call
        return call

    def fetch(self) -> list[np.ndarray]:
        return self.left or self.inner.fetch()

    def own(self, feeds: Feeds) -> Feeds:
        return {name: np.array(array) for name, array in feeds.items()}

    def once(self, feeds: Feeds) -> None:
        self.left = self.inner.run(feeds)

    def bind_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        own = self.own(feeds)

        def call() -> None:
            for _ in range(streams * QUERIES_PER_STREAM):
                self.once(own)

        return call

    def native_timer(self, feeds: Feeds, time_calls: TimeCalls) -> Callable[[int], Nanoseconds]:
        own = self.own(feeds)
        return lambda calls: self.altered(time_calls(lambda: self.once(own), calls))

    def altered(self, latency_ns: Nanoseconds) -> Nanoseconds:
        return latency_ns

    def copy_times(self, feeds: Feeds, repeats: int) -> dict[str, list[int]]:
        times: dict[str, list[int]] = {"h2d_ns": [], "d2h_ns": []}
        for values in times.values():
            for _ in range(repeats):
                started = time.perf_counter_ns()
                self.own(feeds)
                values.append(time.perf_counter_ns() - started)
        return times

    def device_time(self, calls: int) -> DeviceTime:
        started = time.perf_counter_ns()
        for _ in range(calls):
            self.call()
        return DeviceTime((time.perf_counter_ns() - started) / calls, gaps=True)

    steps: type[RunSteps] = RunSteps

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> DecodingStream:
        return self.steps(self.inner, "a fake", decoder, batch, capacity)

    def profiled_placement(self, feeds: Feeds) -> Placement:
        found: Placement = self.inner.placement()
        return replace(found, time_share={"cpu": 1.0}, precision="fp32")


class Capable(Honest):
    """Offers and declares all that a backend may."""

    wrapper: type[Wrapped] = CapableSession
    variants = ("fp32", "bf16")
    trials: ClassVar[tuple[dict[str, str], ...]] = ()
    requirements: ClassVar[dict[str, Any]] = {"capable-npu": (("capable==1", "numpy<2"),)}
    memory: ClassVar[Any] = (2**30, 2**31)
    reading: ClassVar[dict[str, Any]] = {
        "power_w": 9.5,
        "clock_hz": 1.2e9,
        "default_clock_hz": 1.4e9,
        "throttled": ["thermal slowdown"],
        "memory_bytes": 2**20,
    }
    absent: ClassVar[dict[str, Any]] = {"npu": Unavailable("libnpu.so was not found.", "Get it.")}

    def devices(self) -> list[Device]:
        return [replace(device, memory_bytes=2**31) for device in super().devices()]

    def device_memory(self, device: Device) -> Any:
        return self.memory

    def telemetry(self, device: Device) -> Any:
        return self.reading

    def absent_devices(self) -> Any:
        return self.absent


def session_that(**methods: Any) -> type[Capable]:
    """A capable backend whose sessions have these methods in place of their own."""
    session = type("Session", (CapableSession,), methods)
    return type("Capable", (Capable,), {"wrapper": session})


def _asynchronously(self: CapableSession, feeds: Feeds, streams: int) -> Callable[[], object]:
    """Its call returns before the outputs exist."""
    self.left, own = [np.zeros((len(feeds["x"]), 10), np.float32)], self.own(feeds)

    def compute() -> None:
        time.sleep(0.01)
        with contextlib.suppress(Exception):  # the session may be closed by then
            self.once(own)

    return lambda: threading.Thread(target=compute).start()


def _going_back(self: CapableSession, feeds: Feeds) -> Callable[[], object]:
    """As OpenVINO does at each inference."""
    loaded_on, bound = os.sched_getaffinity(0), CapableSession.bind(self, feeds)

    def call() -> None:
        os.sched_setaffinity(0, loaded_on)
        bound()

    return call


def _refuse_vaguely(self: CapableSession, feeds: Feeds, streams: int) -> Callable[[], object]:
    raise Unsupported("this is not possible here, whatever you do.")


def _forget_outputs(self: CapableSession, feeds: Feeds, time_calls: TimeCalls) -> Any:
    self.left = [np.zeros((3, 10), np.float32)]
    return lambda calls: time_calls(lambda: self.inner.run(feeds), calls)


def _disturb(self: CapableSession, feeds: Feeds, repeats: int) -> dict[str, list[int]]:
    self.once(feeds)
    return CapableSession.copy_times(self, feeds, repeats)


def _summed(self: CapableSession, calls: int) -> DeviceTime:
    """Adds its calls up instead of telling of one."""
    found = CapableSession.device_time(self, calls)
    return DeviceTime(found.ns * calls, gaps=True)


def _forget(self: CapableSession, calls: int) -> DeviceTime:
    self.left = [np.zeros((3, 10), np.float32)] * 3
    return DeviceTime(1000.0, gaps=True)


def _copies(change: Callable[[dict[str, list[int]]], Any]) -> Callable[..., Any]:
    return lambda self, feeds, repeats: change(CapableSession.copy_times(self, feeds, repeats))


def _placed(**changes: Any) -> Callable[..., Placement]:
    return lambda self, feeds: replace(CapableSession.profiled_placement(self, feeds), **changes)


def _fail(self: Capable, device: Device) -> Any:
    raise BenchError("the driver did not answer this time; ask again.")


def steps_that(**methods: Any) -> type[Capable]:
    """A capable backend whose streams have these methods in place of their own."""
    return session_that(steps=type("Steps", (RunSteps,), methods))


def _forget_the_state(self: RunSteps, tokens: np.ndarray, end: int) -> Logits:
    self._past = self._first_state()
    return RunSteps._advance(self, tokens, end)


def _keep_the_state(self: RunSteps) -> None:
    if not self._past:
        self._past = self._first_state()


def _keep_the_position(self: RunSteps) -> None:
    self._begin()


def _reuse_logits(self: RunSteps, tokens: np.ndarray, end: int) -> Logits:
    kept = vars(self).setdefault("kept", np.empty((self._batch, self._decoder.vocabulary), "f4"))
    kept[...] = RunSteps._advance(self, tokens, end)
    return kept


def _wait_a_step(self: RunSteps, tokens: np.ndarray) -> Logits:
    """Takes the tokens when the next come."""
    late = vars(self).get("late")
    self.late = tokens
    return RunSteps.step(self, tokens if late is None else np.array(late))


def _share_a_stream(self: Any, decoder: Decoder, batch: int, capacity: int) -> DecodingStream:
    made: dict[int, DecodingStream] = vars(self).setdefault("made", {})
    if not made:
        made[0] = RunSteps(self.inner, "a fake", decoder, batch, capacity)
    return made[0]


def backend_that(**attributes: Any) -> type[Capable]:
    """A capable backend with these attributes in place of its own."""
    return type("Capable", (Capable,), attributes)


#: What is wrong, by the check that has to catch it.
BROKEN: dict[str, dict[str, type[Capable]]] = {
    "check_what_it_declares_is_well_formed": {
        "an unknown variant": backend_that(variants=("fp31",)),
        "no variant": backend_that(variants=()),
        "trials that are no options": backend_that(trials=({"streams": 2},)),
        "a module to load that is no name": backend_that(imports_to_load=(np,)),
        "an environment with a space": backend_that(requirements={"a b": (("acme",),)}),
        "steps that are text": backend_that(requirements={"acme": ("acme",)}),
        "no steps": backend_that(requirements={"acme": ()}),
        "a tunable that is no Tunable": backend_that(tunables={"speed": ("low", "high")}),
        "one value to choose from": backend_that(tunables={"speed": Tunable(("low",))}),
        "a value that is no text": backend_that(tunables={"speed": Tunable((1, 2))}),
        "an unknown value that lingers": backend_that(
            tunables={"speed": Tunable(("low", "high"), lingers_s={"medium": 1.0})}
        ),
    },
    "check_it_knows_the_options_that_it_wants_tried": {
        "a trial of an unknown option": backend_that(trials=({"speed": "high"},)),
    },
    "check_it_knows_the_options_that_it_wants_tuned": {
        "an unknown option to tune": backend_that(tunables={"speed": Tunable(("low", "high"))}),
    },
    "check_one_that_moves_stays_where_it_is_put": {
        "going back to where it was loaded": type(
            "Capable", (session_that(bind=_going_back),), {"moves": True}
        ),
    },
    "check_streams_compute_the_model": {
        "returning too early": session_that(bind_streams=_asynchronously),
        "a refusal that names nothing": session_that(bind_streams=_refuse_vaguely),
    },
    "check_streams_copy_their_inputs": {
        "keeping the caller's arrays": session_that(own=lambda self, feeds: feeds),
    },
    "check_streams_make_all_their_queries": {
        "one query a call": session_that(
            bind_streams=lambda self, feeds, streams: lambda: self.once(feeds)
        ),
    },
    "check_the_native_loop_computes_the_model": {
        "one latency too few": session_that(altered=lambda self, ns: ns[1:]),
        "fractions of a ns": session_that(altered=lambda self, ns: ns.astype(np.float64)),
        "no time at all": session_that(altered=lambda self, ns: ns * 0),
        "outputs that it did not compute": session_that(native_timer=_forget_outputs),
        "keeping the caller's arrays": session_that(own=lambda self, feeds: feeds),
    },
    "check_the_native_loop_times_what_it_does": {
        "microseconds": session_that(altered=lambda self, ns: ns // 1000 + 1),
        "the time since the start": session_that(altered=lambda self, ns: ns.cumsum()),
    },
    "check_copy_times_are_as_many_as_asked_for": {
        "one direction": session_that(copy_times=_copies(lambda t: {"h2d_ns": t["h2d_ns"]})),
        "one too few": session_that(copy_times=_copies(lambda t: {k: v[1:] for k, v in t.items()})),
        "fractions of a ns": session_that(
            copy_times=_copies(lambda t: {k: [x + 0.5 for x in v] for k, v in t.items()})
        ),
        "picoseconds": session_that(
            copy_times=_copies(lambda t: {k: [x * 1000 for x in v] for k, v in t.items()})
        ),
        "a name without a unit": session_that(copy_times=_copies(lambda t: {**t, "all": [1] * 4})),
    },
    "check_timing_copies_leaves_what_is_bound": {
        "outputs of other inputs": session_that(copy_times=_disturb),
    },
    "check_the_devices_own_time_is_within_that_of_its_calls": {
        "femtoseconds": session_that(device_time=lambda self, calls: DeviceTime(1e9, gaps=False)),
        "of all calls": session_that(device_time=_summed),
        "no time": session_that(device_time=lambda self, calls: DeviceTime(0.0, gaps=True)),
        "outputs of nothing": session_that(device_time=_forget),
    },
    "check_a_profiled_placement_is_the_placement_and_more": {
        "other nodes": session_that(profiled_placement=_placed(nodes={"npu:0": 9})),
        "more than the whole time": session_that(
            profiled_placement=_placed(time_share={"cpu": 0.8, "npu:0": 0.7})
        ),
        "percent": session_that(profiled_placement=_placed(time_share={"cpu": 100.0})),
        "no source": session_that(profiled_placement=_placed(source="")),
        "a node more that is elsewhere": session_that(
            profiled_placement=_placed(off_device=("Conv (cpu)",))
        ),
    },
    "check_steps_go_on_from_the_state_that_the_last_one_left": {
        "a step after nothing": steps_that(_advance=_forget_the_state),
        "a state that outlives a reset": steps_that(_begin=_keep_the_state),
        "a position that outlives a reset": steps_that(reset=_keep_the_position),
        "the logits of the first new token": steps_that(
            _advance=lambda self, tokens, end: RunSteps._advance(self, tokens[:, :1], end)
        ),
        "doubles": steps_that(
            step=lambda self, tokens: RunSteps.step(self, tokens).astype(np.float64)
        ),
    },
    "check_steps_copy_their_tokens_and_logits": {
        "logits that the next step overwrites": steps_that(_advance=_reuse_logits),
        "tokens that are looked at later": steps_that(step=_wait_a_step),
    },
    "check_two_streams_are_independent": {
        "one stream for all": session_that(decoding=_share_a_stream),
    },
    "check_steps_that_do_not_fit_are_refused_and_change_nothing": {
        "whatever it is given": steps_that(_count=lambda self, tokens: tokens.shape[1]),
    },
    "check_drafts_are_checked_and_taken_back": {
        "the last logits alone": steps_that(
            step_each=lambda self, tokens: RunSteps.step(self, tokens)[:, None]
        ),
        "a state that isn't kept": steps_that(_hold=lambda self, held: None),
        "a position that isn't kept": steps_that(put_back=lambda self, kept: self._hold(kept[1])),
        "a cut through what has no entries": steps_that(cuts=True),
    },
    "check_the_devices_memory_is_in_bytes": {
        "total and free": backend_that(memory=(2**31, 2**30)),
        "MiB": backend_that(memory=(2**10, 2**11)),
        "fractions": backend_that(memory=(2.0**30, 2.0**31)),
        "less than nothing": backend_that(memory=(-1, 2**31)),
    },
    "check_telemetry_is_in_its_units": {
        "milliwatts": backend_that(reading={"power_w": 250_000.0}),
        "MHz": backend_that(reading={"clock_hz": 1200.0}),
        "a default clock in MHz": backend_that(reading={"default_clock_hz": 1200.0}),
        "kelvin": backend_that(reading={"temperature_c": 314.0}),
        "memory's clock in MHz": backend_that(reading={"memory_clock_hz": 2619.0}),
        "reasons as bits": backend_that(reading={"throttled": [0x40]}),
        "reasons as one text": backend_that(reading={"throttled": "power brake"}),
        "an error": backend_that(telemetry=_fail),
        "a fact of its own": backend_that(reading={"fan_rpm": 900}),
        "memory as a fraction": backend_that(reading={"memory_bytes": 0.5}),
    },
    "check_absent_devices_are_explained": {
        "one of a kind that isn't there": backend_that(
            absent={"npu:0": Unavailable("It was not found.", "Look.")}
        ),
        "a kind that is there": backend_that(absent={"cpu": Unavailable("It is gone.", "Look.")}),
        "text": backend_that(absent={"npu": "libnpu.so was not found anywhere."}),
        "no cause": backend_that(absent={"npu": Unavailable("No.", "")}),
        "several lines": backend_that(absent={"npu": Unavailable("It was\nnot found.", "Look.")}),
    },
}
