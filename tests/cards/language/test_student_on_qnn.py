"""The student that ships decodes a token on Qualcomm's emulation, as it does on the CPU."""

from __future__ import annotations

from pathlib import Path

import bench.models
import numpy as np
import pytest

from bench.backend import ModelFile, Options
from bench.cards.half import write_float16
from bench.cards.language.found import decoder_in
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.language.static import static_form
from bench.discover import load_backend

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxruntime_qnn")
DEPTH = 32


@pytest.mark.long
def test_the_student_says_the_same_on_qnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    path = Path(bench.models.__file__).parent / "verse-student" / "model.onnx"
    decoder = decoder_in(path)
    assert decoder is not None
    run = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run
    tokens = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, DEPTH + 1))
    _, *state = run(None, step_feeds(decoder, tokens[:, :DEPTH], first_past(decoder, 1), 0))
    past = dict(zip([tensor.input for tensor in decoder.state], state, strict=True))
    feeds = step_feeds(decoder, tokens[:, DEPTH:], past, DEPTH)
    want = run(None, feeds)[0]
    write_float16(path, tmp_path / "half.onnx")
    shapes = {name: array.shape for name, array in feeds.items()}
    form = static_form(tmp_path / "half.onnx", shapes, "student")
    adapter = load_backend("onnxruntime")()
    (here,) = [one for one in adapter.devices() if one.id == "qnn"]
    session = adapter.compile(ModelFile("student", form.path, variant="fp16"), here, Options())
    assert set(session.placement().nodes) == {"qnn"}
    logits = form.whole(session.run({name: feeds[name] for name in form.inputs}))[0]
    assert logits.argmax() == want.argmax()
    np.testing.assert_allclose(logits, want, atol=0.005 * np.abs(want).max())
    session.close()
