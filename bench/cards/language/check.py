"""Is an exported decoder still the model? Compared with PyTorch step by step, before timing."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.export import TOLERANCE, exceeds
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.modules import Made, to_array
from bench.decoding import POSITION, Decoder, StateTensor
from bench.errors import ExportFailed, kind_and_line

#: Greedy tokens that have to be the same.
GREEDY = 16
#: Two differ in length from each other, and none is the traced one.
_PROMPTS = (1, 5, 19)
_BATCH = 2
#: Candidates whose scores are nearer than this, relative to the largest, may change places by
#: rounding: a hundred last bits of float32, which is what scores differ by after some layers.
_TIED = 1e-5
#: Below so many bytes of weights a step is too short for threads to meet: with two on a busy
#: machine, checking a model of 2 MB took seven times the CPU time of one.
_SMALL_BYTES = 64 * 2**20

Runner = Callable[[Mapping[str, Array]], list[Array]]


@dataclass(frozen=True)
class Checked:
    """What was compared: ``steps`` in all, the largest difference in what agreed, and ``ties``:
    steps where it did only up to a token at which candidates tied."""

    steps: int
    worst: float
    ties: int


@dataclass
class _Tally:
    steps: int = 0
    worst: float = 0.0
    ties: int = 0
    deviations: list[str] = field(default_factory=list)


def check(name: str, made: Made, path: Path, *, thorough: bool = True) -> Checked:
    """Compare prompts and single tokens, with caches of several lengths and across every boundary
    of the state, and a greedy continuation. Raises `ExportFailed` with the numbers."""
    decoder: Decoder = made.module.decoder
    comparison = _Comparison(name, decoder, made, _runner(name, path))
    with _threads_fit_for(made):
        for prompt in _PROMPTS if thorough else _PROMPTS[1:2]:
            comparison.decode(prompt, steps=2)
        if thorough:
            for boundary in decoder.boundaries():
                comparison.decode(max(1, boundary - 2), steps=5)
                comparison.decode(2 * boundary + 1, steps=1)
        comparison.greedy(_PROMPTS[1], GREEDY if thorough else 2)
    tally = comparison.tally
    if tally.ties * 2 > tally.steps:
        raise ExportFailed(
            f"{name}: at {tally.ties} of {tally.steps} steps candidates for "
            f"{' or '.join(decoder.chooses) or 'a choice by rank'} tie, so the export can't be "
            "verified. Are its weights trained?"
        )
    return Checked(tally.steps, tally.worst, tally.ties)


def check_buffered(name: str, made: Made, path: Path) -> None:
    """Compare the form with a static cache: texts of several cuts, across every boundary of the
    state, in buffers that are longer than they. Raises `ExportFailed` with the numbers."""
    decoder: Decoder = made.module.decoder
    far = 2 * max(decoder.boundaries(), default=2) + 1
    comparison = _Comparison(name, decoder, made, _runner(name, path))
    with _threads_fit_for(made):
        for sizes in ((5, 1, 1, far, 1), (1, 1, 1)):
            comparison.in_buffers(sizes, sum(sizes) + 4)


@contextlib.contextmanager
def _threads_fit_for(made: Made) -> Iterator[None]:
    """While it lasts, PyTorch computes a small model on one thread."""
    import torch  # torch: optional

    threads = torch.get_num_threads()
    if made.state_bytes < _SMALL_BYTES:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Comparison:
    """The same steps by PyTorch and by the exported file."""

    def __init__(self, name: str, decoder: Decoder, made: Made, run: Runner) -> None:
        self.name = name
        self.decoder = decoder
        self.made = made
        self.run = run
        self.tally = _Tally()

    def decode(self, prompt: int, steps: int) -> None:
        """A prompt, then single tokens; both go on from PyTorch's state, so that each step is
        compared on its own."""
        rng = np.random.default_rng(prompt)
        tokens = rng.integers(0, self.decoder.vocabulary, (_BATCH, prompt + steps))
        past, position = first_past(self.decoder, _BATCH), 0
        for count in (prompt, *[1] * steps):
            feeds = step_feeds(self.decoder, tokens[:, position : position + count], past, position)
            want, first_tie = self._expected(feeds, count)
            self._compare(want, self.run(feeds), position, first_tie)
            past, position = self._next(want), position + count

    def in_buffers(self, sizes: Sequence[int], capacity: int) -> None:
        """A text in steps of ``sizes``: by PyTorch with a state of its own length, and by a file
        whose state is buffers of ``capacity``."""
        rng = np.random.default_rng(len(sizes))
        decoder, position = self.decoder, 0
        tokens = rng.integers(0, decoder.vocabulary, (_BATCH, sum(sizes)))
        past = first_past(decoder, _BATCH)
        buffers = {
            t.input: np.zeros(decoder.buffer(t, _BATCH, capacity), t.dtype) for t in decoder.state
        }
        for count in sizes:
            new = tokens[:, position : position + count]
            want, first_tie = self._expected(step_feeds(decoder, new, past, position), count)
            got = self.run({decoder.tokens: new, POSITION: np.array([position]), **buffers})
            past, position = self._next(want), position + count
            seen = [got[0], *(self._seen(t, a, position) for t, a in self._by_tensor(got))]
            ties = self.tally.ties
            self._compare(want, seen, position - count, first_tie)
            if self.tally.ties > ties:
                return  # what follows a tie may differ in both, and be right
            buffers = self._next(got)

    def _by_tensor(self, outputs: list[Array]) -> Iterator[tuple[StateTensor, Array]]:
        return zip(self.decoder.state, outputs[1:], strict=True)

    def _seen(self, tensor: StateTensor, buffer: Array, position: int) -> Array:
        """Of a buffer what a state of its own length would hold."""
        axis = tensor.axis
        assert axis is not None
        length = self.decoder.shape(tensor, _BATCH, position)[axis]
        return buffer.take(np.arange(position - length, position), axis=axis)

    def greedy(self, prompt: int, count: int) -> None:
        """The likeliest tokens, each side going on from its own state and its own choice."""
        rng = np.random.default_rng(count)
        tokens = rng.integers(0, self.decoder.vocabulary, (1, prompt))
        mine = theirs = first_past(self.decoder, 1)
        position = 0
        for _ in range(count):
            feeds = step_feeds(self.decoder, tokens, mine, position)
            want, first_tie = self._expected(feeds, tokens.shape[1])
            got = self.run({**feeds, **theirs})
            if first_tie < tokens.shape[1] and exceeds(want[0], got[0]) is not None:
                self.tally.ties += 1
                return  # from here on the two tell different stories, and both may be right
            self._compare(want, got, position, first_tie)
            position += tokens.shape[1]
            mine, theirs = self._next(want), self._next(got)
            tokens = want[0][:, -1:].argmax(-1)
            if (got[0][:, -1:].argmax(-1) != tokens).any():
                top = np.sort(want[0][0, -1])[-2:]
                if top[1] - top[0] > TOLERANCE.absolute * max(1.0, abs(float(top[1]))):
                    raise ExportFailed(
                        f"{self.name}: after {position} tokens the exported model continues with "
                        "another word than PyTorch, so it is not timed. Report it to the exporter."
                    )

    def _expected(self, feeds: Mapping[str, Array], count: int) -> tuple[list[Array], int]:
        """What the module gives, and the first new token at which candidates tie."""
        import torch  # torch: optional

        ranks: list[Any] = []
        with self.made.running() as module, torch.inference_mode(), _recorded(torch, ranks):
            given = [torch.from_numpy(feeds[name]) for name in self.made.parameters]
            found = [to_array(tensor) for tensor in module(*given)]
        batch = next(iter(feeds.values())).shape[0]
        return found, min((_first_tie(rank, batch, count) for rank in ranks), default=count)

    def _compare(self, want: list[Array], got: list[Array], position: int, first_tie: int) -> None:
        names = [self.decoder.logits, *(tensor.output for tensor in self.decoder.state)]
        count = want[0].shape[1]
        self.tally.steps += 1
        for name, mine, theirs in zip(names, want, got, strict=True):
            beyond = exceeds(mine, theirs)
            if beyond is None:
                finite = np.isfinite(mine)
                if finite.any():
                    worst = float(np.abs(mine[finite] - theirs[finite]).max())
                    self.tally.worst = max(self.tally.worst, worst)
                continue
            if first_tie < count and mine.shape == theirs.shape:
                before = exceeds(want[0][:, :first_tie], got[0][:, :first_tie])
                if before is None:
                    self.tally.ties += 1
                    return
            raise ExportFailed(
                f"{self.name}: {count} tokens after {position}, {name} of the exported model "
                f"differs from PyTorch by up to {beyond:.3g} (allowed: {TOLERANCE.absolute:g} "
                "relative or absolute), so it is not timed. Report it to the exporter, or name an "
                ".onnx file of your own."
            )

    def _next(self, outputs: list[Array]) -> dict[str, Array]:
        return {
            tensor.input: np.ascontiguousarray(array)
            for tensor, array in zip(self.decoder.state, outputs[1:], strict=True)
        }


def _runner(name: str, path: Path) -> Runner:
    """Runs the file by ONNX Runtime where it is installed, else by ONNX's reference evaluator."""
    try:
        if importlib.util.find_spec("onnxruntime") is not None:
            import onnxruntime  # onnxruntime: optional

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # Its threads would spin beside torch's between two steps.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        else:
            from onnx.reference import ReferenceEvaluator  # onnx: start-up

            session = ReferenceEvaluator(str(path))
    except Exception as error:
        raise ExportFailed(
            f"{name}: the exported model can't be loaded: {kind_and_line(error)}."
        ) from error

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        try:
            return list(session.run(None, dict(feeds)))
        except Exception as error:
            shapes = ", ".join(f"{key} {array.shape}" for key, array in list(feeds.items())[:3])
            raise ExportFailed(
                f"{name}: the exported model can't be run on {shapes}...: {kind_and_line(error)}."
            ) from error

    return run


# -- ties ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _recorded(torch: Any, ranks: list[Any]) -> Iterator[None]:
    """Notes the scores that every choice of the best k is made from, with k."""
    from torch.overrides import TorchFunctionMode  # torch: optional

    topk = (torch.topk, torch.Tensor.topk)

    class Noting(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in topk:
                k = args[1] if len(args) > 1 else (kwargs or {})["k"]
                ranks.append((to_array(args[0]), int(k)))
            return func(*args, **(kwargs or {}))

    with Noting():
        yield


def _first_tie(rank: tuple[Array, int], batch: int, count: int) -> int:
    """The first of ``count`` new tokens where the last that was chosen and the first that was not
    have the same score, but for rounding."""
    scores, k = rank
    candidates = scores.shape[-1] if scores.ndim else 0
    if not 0 < k < candidates or scores.size == 0:
        return count
    ordered = -np.sort(-scores.astype(np.float64), axis=-1)
    chosen, left = ordered[..., k - 1], ordered[..., k]
    largest = np.abs(np.where(np.isfinite(ordered), ordered, 0)).max()
    with np.errstate(invalid="ignore"):
        tied = np.isfinite(left) & (chosen - left <= _TIED * largest)
    if tied.size % (batch * count):
        return 0 if tied.any() else count
    places = np.flatnonzero(tied.reshape(batch, count, -1).any(axis=(0, 2)))
    return int(places[0]) if places.size else count
