"""Whole texts on the stand-in: gears for the tokens of a step, device buffers in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.backends.ascend.adapter import Ascend

from bench.backend import ModelFile, Options
from bench.contract.made_decoders import DECODER, VOCABULARY, right
from bench.contract.static_decoders import write_static_decoder
from bench.errors import Unsupported

CAPACITY = 14


@pytest.fixture
def file(tmp_path: Path) -> ModelFile:
    return write_static_decoder(tmp_path).file


def test_a_text_is_decoded_with_the_state_in_two_sets_of_device_buffers(
    acl: Any, file: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATC_STAND_IN_COUNT", str(tmp_path / "calls"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))  # where nothing is compiled yet
    backend = Ascend()
    (device,) = backend.devices()
    session = backend.compile(file, device, Options())
    before = set(acl.machine.leaks())
    stream = session.decoding(DECODER, 2, CAPACITY)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (2, CAPACITY))
    for sizes in ((9, 1, 1, 2, 1), (1,) * CAPACITY):
        stream.reset()
        for count in sizes:
            end = stream.position + count
            logits = stream.step(tokens[:, end - count : end])
            want = right(tokens[:, :end])[:, -1]
            np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4)
    (command,) = [line for line in (tmp_path / "calls").read_text().splitlines() if "dims" in line]
    assert "--input_shape=input_ids:2,-1;position:1;past_key:2,1,14,4;" in command
    assert "--dynamic_dims=1;4 --input_format=ND" in command
    assert set(acl.machine.leaks()) > before, "the buffers are there as long as the session"
    session.close()


def test_nothing_but_tokens_and_logits_is_copied(acl: Any, file: ModelFile) -> None:
    backend = Ascend()
    session = backend.compile(file, backend.devices()[0], Options())
    stream = session.decoding(DECODER, 2, CAPACITY)
    copied: list[int] = []
    plain = acl.rt.memcpy

    def counting(dst: int, room: int, source: int, size: int, kind: int) -> int:
        copied.append(size)
        return plain(dst, room, source, size, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acl.rt, "memcpy", counting)
        stream.step(np.zeros((2, 1), np.int64))
    tokens, place, logits = 2 * 8, 8, 2 * VOCABULARY * 4
    assert sorted(copied) == sorted([tokens, place, logits])
    session.close()


def test_a_model_without_a_static_cache_is_refused(acl: Any, file: ModelFile) -> None:
    backend = Ascend()
    session = backend.compile(ModelFile(file.name, file.onnx), backend.devices()[0], Options())
    with pytest.raises(Unsupported, match="no form with a static cache for 14 tokens at batch 2"):
        session.decoding(DECODER, 2, CAPACITY)
    session.close()
