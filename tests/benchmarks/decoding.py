"""Decoding through `bench` against loops of others, in one process, printed and never asserted.

    python tests/benchmarks/decoding.py [MODEL]

MODEL is whatever `bench run -m` takes; without one, a small decoder that takes no training. All
loops run on ONNX Runtime's CPU provider with one thread, and take turns in short blocks. Times are
the process' CPU time, so that what else the machine does is left out:

- one step at a fixed depth: what a worker times (``bind``), against the same step with inputs and
  outputs bound by hand. The aim is at most 1.02;
- a text of single tokens: `bench.capabilities.DecodingStream`, against a loop by hand that binds
  each present as the next past. The aim is at most 1.02;
- the same text by onnxruntime-genai, where it is installed and MODEL is a checkpoint's folder, in
  float32, greedy. The aim is at most 1.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_decoder import save_decoder  # type: ignore[import-not-found]

from bench.arrays import Array
from bench.backend import Device, ModelFile, Options
from bench.cache import cache_folder
from bench.cards.catalog import find_model
from bench.cards.language.found import decoder_in
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.ready import load
from bench.decoding import Decoder
from bench.discover import load_backend
from bench.runtimes.processes import thread_environment

DEPTH = 64
TOKENS = 32
BLOCKS = 20

Loop = Callable[[], object]


def medians_ns(loops: dict[str, Loop], steps: int) -> dict[str, float]:
    """The median CPU time of a step over blocks in random turn, the first of each left out."""
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(BLOCKS + 1):
        for name in random.sample(list(loops), len(loops)):
            started = time.process_time_ns()
            loops[name]()
            found[name].append((time.process_time_ns() - started) / steps)
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def print_ratios(what: str, loops: dict[str, Loop], steps: int) -> None:
    """Each loop's time a step, and its ratio to the first."""
    medians = medians_ns(loops, steps)
    first = next(iter(medians.values()))
    words = [f"{name} {ns / 1e3:.1f} us ({ns / first:.3f}x)" for name, ns in medians.items()]
    print(f"{what}: {', '.join(words)}")


def repeated(call: Loop, times: int) -> Loop:
    def loop() -> None:
        for _ in range(times):
            call()

    return loop


def bound_by_hand(session: Any, feeds: dict[str, Array]) -> Loop:
    """The step as one writes it with ONNX Runtime alone: all inputs and outputs bound once."""
    import onnxruntime

    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for output, array in zip(session.get_outputs(), session.run(None, feeds), strict=True):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(array))
        binding.bind_ortvalue_output(output.name, value)
    return lambda: session.run_with_iobinding(binding)


def text_by_hand(session: Any, decoder: Decoder, tokens: Array) -> list[int]:
    """The likeliest next tokens; each present is bound as the next past where it lies."""
    import onnxruntime

    said: list[int] = []
    states = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
        for name, array in first_past(decoder, 1).items()
    }
    position, new = 0, tokens
    for _ in range(TOKENS):
        binding = session.io_binding()
        for name, array in step_feeds(decoder, new, {}, position).items():
            binding.bind_cpu_input(name, array)
        for name, value in states.items():
            binding.bind_ortvalue_input(name, value)
        for name in (decoder.logits, *(tensor.output for tensor in decoder.state)):
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        logits, *left = binding.get_outputs()
        position += new.shape[1]
        states = dict(zip([tensor.input for tensor in decoder.state], left, strict=True))
        new = logits.numpy()[:, -1:].argmax(-1)
        said.append(int(new[0, 0]))
    return said


def text_by_stream(stream: Any, tokens: Array) -> list[int]:
    """The same through `bench`."""
    stream.reset()
    said: list[int] = []
    new = tokens
    for _ in range(TOKENS):
        new = stream.step(new).argmax(-1)[:, None]
        said.append(int(new[0, 0]))
    return said


def text_by_genai(checkpoint: Path, folder: Path, tokens: Array) -> Loop | str:
    """The same by onnxruntime-genai, which builds its own graph of the checkpoint; in words why
    not, where it can't."""
    if find_spec("onnxruntime_genai") is None:
        return "onnxruntime-genai is not installed: pip install 'infer-bench[proof]'"
    if not (checkpoint / "config.json").is_file():
        return "onnxruntime-genai builds its graph of a checkpoint's folder, and none was given"
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    arguments = ["-i", str(checkpoint), "-o", str(folder), "-p", "fp32", "-e", "cpu"]
    built = subprocess.run([*builder, *arguments], capture_output=True, text=True)
    if built.returncode:
        return f"onnxruntime-genai can't build it: {built.stderr.strip().splitlines()[-1]}"
    import onnxruntime_genai as genai

    settings = folder / "genai_config.json"
    described = json.loads(settings.read_text("utf-8"))
    described["model"]["decoder"]["session_options"]["intra_op_num_threads"] = 1
    settings.write_text(json.dumps(described))
    model = genai.Model(str(folder))

    def loop() -> None:
        asked = genai.GeneratorParams(model)
        length = tokens.shape[1] + TOKENS
        asked.set_search_options(do_sample=False, max_length=length, min_length=length)
        generator = genai.Generator(model, asked)
        generator.append_tokens(tokens[0].tolist())
        for _ in range(TOKENS):
            generator.generate_next_token()

    return loop


def main() -> None:
    os.environ.update(thread_environment(1))
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        given = sys.argv[1] if len(sys.argv) > 1 else str(save_decoder(Path(folder) / "small.onnx"))
        model = load(find_model(given), cache_folder(), print)
        assert model.file.onnx is not None, model.refused
        compare(given, model.file.onnx, Path(folder) / "genai")


def compare(given: str, path: Path, folder: Path) -> None:
    import onnxruntime

    decoder = decoder_in(path)
    assert decoder is not None, f"{given} is no decoder"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    backend = load_backend("onnxruntime")()
    device = Device(id="cpu", vendor="", name="")
    session: Any = backend.compile(ModelFile("model", onnx=path), device, Options(threads=1))
    tokens = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, DEPTH))
    feeds = step_feeds(decoder, tokens[:, :1], {}, DEPTH)
    first = step_feeds(decoder, tokens, first_past(decoder, 1), 0)
    left = plain.run([tensor.output for tensor in decoder.state], first)
    feeds |= dict(zip([tensor.input for tensor in decoder.state], left, strict=True))
    steps = {
        "by hand": repeated(bound_by_hand(plain, feeds), TOKENS),
        "bench": repeated(session.bind(feeds), TOKENS),
    }
    print_ratios(f"{given}, one token at depth {DEPTH}", steps, TOKENS)
    stream = session.decoding(decoder, 1, DEPTH + TOKENS)
    assert text_by_stream(stream, tokens) == text_by_hand(plain, decoder, tokens)
    texts: dict[str, Loop] = {
        "by hand": lambda: text_by_hand(plain, decoder, tokens),
        "bench": lambda: text_by_stream(stream, tokens),
    }
    other = text_by_genai(Path(given), folder, tokens)
    if isinstance(other, str):
        print(f"skipped: {other}")
    else:
        texts["onnxruntime-genai"] = other
    print_ratios(f"{given}, {DEPTH} tokens and {TOKENS} more, time a token", texts, TOKENS)


if __name__ == "__main__":
    main()
