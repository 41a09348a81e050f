"""Decoding through `bench` against loops of others, in one process, printed and never asserted.

    python tests/benchmarks/decoding.py [MODEL] [--threads N] [--blocks N]

MODEL is whatever `bench run -m` takes; without one, a small decoder that takes no training. All
loops run on the CPU with as many threads (1), and take turns in short blocks. Times are the
process' CPU time, so that what else the machine does is left out:

- one step at a fixed depth: what a worker times (``bind``), against the same step with inputs and
  outputs bound by hand. The aim is at most 1.02;
- texts of a prompt and single tokens: `bench.capabilities.DecodingStream`, against a loop by hand
  that binds each present as the next past. The aim is at most 1.02. The further tokens' time is
  that of a long text less that of a text of one token;
- the same texts by onnxruntime-genai, where it is installed (``pip install --no-deps
  onnxruntime-genai==0.18.0``) and MODEL is or has a checkpoint, in float32, greedy. The aim: bench
  takes no longer;
- the same by llama.cpp in float32, where ``pip install xllamacpp`` was done and MODEL is a GGUF
  file: its tensors are dequantised. The aim: bench takes at most 1.5 times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_decoder import save_decoder  # type: ignore[import-not-found]

from bench.arrays import Array
from bench.backend import Device, ModelFile, Options
from bench.cards.card import Card
from bench.cards.catalog import find_model
from bench.cards.language.found import decoder_in
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.ready import load
from bench.decoding import Decoder
from bench.discover import load_backend
from bench.folders import cache_folder
from bench.runtimes.processes import thread_environment

DEPTH = 64
TOKENS = 32

Loop = Callable[[], object]
Text = Callable[[int], list[int] | str]  #: makes so many tokens behind the prompt


def medians_ns(loops: dict[str, Loop], blocks: int) -> dict[str, float]:
    """The median CPU time of each loop over blocks in random turn, the first of each left out."""
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(blocks + 1):
        for name in random.sample(list(loops), len(loops)):
            started = time.process_time_ns()
            loops[name]()
            found[name].append(time.process_time_ns() - started)
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def print_ratios(what: str, medians: dict[str, float]) -> None:
    """Each loop's time, and its ratio to the first."""
    first = next(iter(medians.values()))
    words = [f"{name} {ns / 1e3:.1f} us ({ns / first:.3f}x)" for name, ns in medians.items()]
    print(f"{what}: {', '.join(words)}", flush=True)


def print_texts(given: str, texts: dict[str, Text], blocks: int) -> None:
    """What a prompt takes with its first token, and what each further token takes."""
    counts = {f"{name} {count}": count for name in texts for count in (1, 1 + TOKENS)}
    loops = {key: _of(texts[key.rsplit(" ", 1)[0]], count) for key, count in counts.items()}
    found = medians_ns(loops, blocks)
    first = {name: found[f"{name} 1"] for name in texts}
    more = {name: (found[f"{name} {1 + TOKENS}"] - ns) / TOKENS for name, ns in first.items()}
    print_ratios(f"{given}, {DEPTH} tokens and the first one behind them", first)
    print_ratios(f"{given}, each of {TOKENS} further tokens", more)


def _of(text: Text, count: int) -> Loop:
    return lambda: text(count)


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


def text_by_hand(session: Any, decoder: Decoder, tokens: Array, count: int) -> list[int]:
    """The likeliest next tokens; each present is bound as the next past where it lies."""
    import onnxruntime

    said: list[int] = []
    states = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
        for name, array in first_past(decoder, 1).items()
    }
    position, new = 0, tokens
    for _ in range(count):
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


def text_by_stream(stream: Any, tokens: Array, count: int) -> list[int]:
    """The same through `bench`."""
    stream.reset()
    said: list[int] = []
    new = tokens
    for _ in range(count):
        new = stream.step(new).argmax(-1)[:, None]
        said.append(int(new[0, 0]))
    return said


def text_by_genai(checkpoint: Path, folder: Path, tokens: Array, threads: int) -> Text | str:
    """The same by onnxruntime-genai, which builds its own graph of the checkpoint; in words why
    not, where it can't."""
    if find_spec("onnxruntime_genai") is None:
        return "onnxruntime-genai: pip install --no-deps onnxruntime-genai==0.18.0"
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    arguments = ["-i", str(checkpoint), "-o", str(folder), "-p", "fp32", "-e", "cpu"]
    built = subprocess.run([*builder, *arguments], capture_output=True, text=True)
    if built.returncode:
        return f"onnxruntime-genai can't build it: {built.stderr.strip().splitlines()[-1]}"
    import onnxruntime_genai as genai

    settings = folder / "genai_config.json"
    described = json.loads(settings.read_text("utf-8"))
    described["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    settings.write_text(json.dumps(described))
    model = genai.Model(str(folder))

    def text(count: int) -> list[int]:
        asked = genai.GeneratorParams(model)
        length = tokens.shape[1] + count
        asked.set_search_options(do_sample=False, max_length=length, min_length=length)
        generator = genai.Generator(model, asked)
        generator.append_tokens(tokens[0].tolist())
        for _ in range(count):
            generator.generate_next_token()
        return [int(token) for token in generator.get_sequence(0)[tokens.shape[1] :]]

    return text


def text_by_llama(quantised: Path, folder: Path, tokens: Array, threads: int) -> Text | str:
    """The same by llama.cpp's own server, called in this process."""
    if find_spec("xllamacpp") is None:
        return "llama.cpp: pip install xllamacpp"
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(dequantised(quantised, folder / "float32.gguf"))
    settings.n_ctx = tokens.shape[1] + TOKENS + 8
    settings.n_parallel = 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.verbosity = -1
    server = xllamacpp.Server(settings)
    asked = {"prompt": tokens[0].tolist(), "temperature": 0, "cache_prompt": False}
    asked |= {"ignore_eos": True, "samplers": ["temperature"]}

    def text(count: int) -> str:
        answer = server.handle_completions({**asked, "n_predict": count})
        assert answer["usage"]["completion_tokens"] == count, answer
        return str(answer["choices"][0]["text"])

    return text


def dequantised(quantised: Path, path: Path) -> Path:
    """The same GGUF file with all tensors in float32."""
    import gguf

    reader = gguf.GGUFReader(quantised)
    writer = gguf.GGUFWriter(path, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in _WRITTEN:
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(
            tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


#: What the writer says itself.
_WRITTEN = ("general.architecture", "general.file_type", "general.quantization_version")


def in_words(card: Card, tokens: list[int]) -> str:
    """The text that the model's tokens stand for."""
    from tokenizers import Tokenizer

    source = card.model_file().torch
    assert source is not None
    assert source.folder is not None
    tokenizer = Tokenizer.from_file(str(source.folder / "tokenizer.json"))
    return str(tokenizer.decode(tokens, skip_special_tokens=False))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("model", nargs="?")
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--blocks", type=int, default=20)
    given = asked.parse_args()
    os.environ.update(thread_environment(given.threads))
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        name = given.model or str(save_decoder(Path(folder) / "small.onnx"))
        card = find_model(name)
        model = load(card, cache_folder(), print)
        assert model.file.onnx is not None, model.refused
        compare(card, model.file.onnx, Path(folder), given.threads, given.blocks)


def by_others(card: Card, folder: Path, tokens: Array, threads: int) -> Iterator[tuple[str, Text]]:
    """The texts by other programs; why not is printed."""
    source = card.model_file().torch
    found: dict[str, Text | str] = {}
    if source is None or source.folder is None:
        found["onnxruntime-genai"] = "onnxruntime-genai builds its graph of a checkpoint: none here"
    else:
        place = folder / "genai"
        found["onnxruntime-genai"] = text_by_genai(source.folder, place, tokens, threads)
    if card.source.gguf is None:
        found["llama.cpp"] = "llama.cpp reads GGUF files alone"
    else:
        quantised = card.file(card.source.gguf)
        found["llama.cpp"] = text_by_llama(quantised, folder, tokens, threads)
    for name, text in found.items():
        if isinstance(text, str):
            print(f"skipped: {text}", flush=True)
        else:
            yield name, text


def compare(card: Card, path: Path, folder: Path, threads: int, blocks: int) -> None:
    import onnxruntime

    decoder = decoder_in(path)
    assert decoder is not None, f"{card.name} is no decoder"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    plain = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    backend = load_backend("onnxruntime")()
    device = Device(id="cpu", vendor="", name="")
    file = ModelFile("model", onnx=path)
    session: Any = backend.compile(file, device, Options(threads=threads))
    tokens = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, DEPTH))
    feeds = step_feeds(decoder, tokens[:, :1], {}, DEPTH)
    first = step_feeds(decoder, tokens, first_past(decoder, 1), 0)
    left = plain.run([tensor.output for tensor in decoder.state], first)
    feeds |= dict(zip([tensor.input for tensor in decoder.state], left, strict=True))
    steps = {
        "by hand": repeated(bound_by_hand(plain, feeds), TOKENS),
        "bench": repeated(session.bind(feeds), TOKENS),
    }
    medians = {name: ns / TOKENS for name, ns in medians_ns(steps, blocks).items()}
    print_ratios(f"{card.name}, one token at depth {DEPTH}", medians)
    stream = session.decoding(decoder, 1, DEPTH + 1 + TOKENS)
    texts: dict[str, Text] = {
        "by hand": lambda count: text_by_hand(plain, decoder, tokens, count),
        "bench": lambda count: text_by_stream(stream, tokens, count),
    }
    said = text_by_stream(stream, tokens, TOKENS)
    assert said == text_by_hand(plain, decoder, tokens, TOKENS)
    for name, text in by_others(card, folder, tokens, threads):
        texts[name] = text
        theirs = text(TOKENS)
        same = theirs in (said, in_words(card, said))
        print(f"{name} says {'the same' if same else f'{theirs!r}, bench {said!r}'}", flush=True)
    print_texts(card.name, texts, blocks)


if __name__ == "__main__":
    main()
