"""How long a GPU works on a call of a provider that computes in a stream that it is given.

ONNX Runtime tells nothing of that itself: its packages come without a kernel profiler, and what is
timed computes in a stream of the provider's own. So the model is loaded once more, for a stream of
ours, in which `..shared.busy` times what is launched: the provider's option for a stream takes its
address as a decimal number, and a run option has `run` return without waiting
(onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html;
onnxruntime_run_options_config_keys.h). A run that waits all the same, because a node copies to the
host or runs there, or because a CUDA graph is replayed by a release that waits after each
(github.com/microsoft/onnxruntime/pull/28686 is the first that doesn't), has pauses in its time, and
that is said.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable

from bench.backend import Feeds
from bench.capabilities import DeviceTime
from bench.errors import BenchError

from ..shared.busy import SEVERAL_STREAMS, device_time
from ..shared.checks import first_line
from ..shared.cudart import CudaStream, loaded_cudart
from .session import OnDeviceSession

_WITHOUT_WAITING = {"disable_synchronize_execution_providers": "1"}
#: What a stream's sleep is longer than two calls by, to be told from what a call takes.
_LEAST_SLEEP_S = 0.01


class StreamedSession(OnDeviceSession):
    """One whose provider can be given the stream to compute in."""

    _in_streams = False  #: whether what is bound is run by several threads at once

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self._in_streams = False
        return super().bind(feeds)

    def bind_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        call = super().bind_streams(feeds, streams)
        self._in_streams = True
        return call

    def device_time(self, calls: int) -> DeviceTime:
        """In a further session with the same options, on the inputs that are bound."""
        if not self._kept:
            raise BenchError(f"{self._where}: no inputs are bound, so there is no work to time.")
        if self._in_streams:
            raise BenchError(f"{self._where}: {SEVERAL_STREAMS}.")
        try:
            return self._time_device(calls)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(f"{self._where}: {first_line(error)}.") from error

    def _time_device(self, calls: int) -> DeviceTime:
        stream = CudaStream(loaded_cudart(), self._index)
        recipe = replace(self._recipe, stream=stream.address)
        other = OnDeviceSession(recipe, recipe.open(recipe.session_options()), self._device_id)
        try:
            binding, entries = other._bound(self._kept[-1])
            call = other._prepared(binding, entries)
            call()  # the first allocates and chooses kernels
            if not _waits_for(stream, call):
                raise BenchError(
                    f"{self._where}: it doesn't compute in the stream that it was given."
                )
            queue = other._prepared(binding, {**entries, **_WITHOUT_WAITING})
            return device_time(stream.api, queue, calls)
        finally:
            other.close()


def _waits_for(stream: CudaStream, call: Callable[[], object]) -> bool:
    """Whether a call's work comes behind what the stream was given before: else the time between
    events in it would be that of nothing."""
    began = time.perf_counter()
    call()
    sleep_s = 2 * (time.perf_counter() - began) + _LEAST_SLEEP_S
    began = time.perf_counter()
    stream.sleep(sleep_s)
    call()
    return time.perf_counter() - began >= sleep_s
