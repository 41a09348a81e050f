"""Small language models on the runtimes of fixed shapes that are installed: too long for each
change, since some compile for minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_decoders import save

pytest.importorskip("transformers")
pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from bench.backend import Device, ModelFile, Options  # noqa: E402
from bench.cards.card import Card  # noqa: E402
from bench.cards.catalog import find_model  # noqa: E402
from bench.cards.half import write_float16  # noqa: E402
from bench.cards.language.buffers import export_buffered  # noqa: E402
from bench.cards.language.export import export_decoder  # noqa: E402
from bench.cards.language.found import decoder_in  # noqa: E402
from bench.cards.language.prompts import first_past, step_feeds  # noqa: E402
from bench.cards.language.static import static_form, static_texts  # noqa: E402
from bench.decoding import Decoder  # noqa: E402
from bench.discover import load_backend  # noqa: E402
from bench.errors import Unavailable, Unsupported  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("decoder")]
RUNTIMES = ("iree", "mnn", "tract", "tvm")
PROMPT, DEPTH = 16, 8


class Exported:
    """Both forms of one small model, and what the dynamic one gives."""

    def __init__(self, folder: Path) -> None:
        card: Card = find_model(str(save("Qwen3ForCausalLM", folder)))
        self.dynamic = export_decoder(card, folder / "cache")
        self.buffered = export_buffered(card, folder / "cache")
        found = decoder_in(self.dynamic)
        assert found is not None
        self.decoder: Decoder = found
        self._session = onnxruntime.InferenceSession(
            str(self.dynamic), providers=["CPUExecutionProvider"]
        )
        rng = np.random.default_rng(0)
        self.tokens = rng.integers(0, self.decoder.vocabulary, (1, PROMPT + DEPTH))

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        return list(self._session.run(None, feeds))

    def prefill(self, count: int) -> dict[str, Any]:
        past = first_past(self.decoder, 1)
        return step_feeds(self.decoder, self.tokens[:, :count], past, 0)

    def decode(self, depth: int) -> dict[str, Any]:
        _, *state = self.run(self.prefill(depth))
        past = dict(zip([t.input for t in self.decoder.state], state, strict=True))
        return step_feeds(self.decoder, self.tokens[:, depth : depth + 1], past, depth)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))


def device(backend: str, kind: str = "cpu") -> tuple[Any, Device]:
    try:
        adapter = load_backend(backend)()
        found = [one for one in adapter.devices() if one.id.partition(":")[0] == kind]
    except Unavailable as error:
        pytest.skip(str(error))
    if not found:
        pytest.skip(f"{backend} has no {kind} here")
    return adapter, found[0]


@pytest.mark.parametrize("step", ["prefill", "decode"])
@pytest.mark.parametrize("backend", RUNTIMES)
def test_one_step_is_the_models(exported: Exported, backend: str, step: str) -> None:
    adapter, here = device(backend)
    feeds = exported.prefill(PROMPT) if step == "prefill" else exported.decode(DEPTH)
    shapes = {name: array.shape for name, array in feeds.items()}
    form = static_form(exported.dynamic, shapes, "qwen3")
    session = adapter.compile(ModelFile("qwen3", form.path), here, Options())
    given = form.whole(session.run({name: feeds[name] for name in form.inputs}))
    for mine, theirs in zip(given, exported.run(feeds), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    session.close()


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_whole_text_is_the_models(exported: Exported, backend: str) -> None:
    adapter, here = device(backend)
    form = static_texts(exported.buffered, exported.decoder, 1, PROMPT, DEPTH, "qwen3")
    session = adapter.compile(ModelFile("qwen3", form.path, static=form.steps), here, Options())
    stream = session.decoding(exported.decoder, 1, PROMPT + DEPTH)
    want = exported.run(exported.prefill(PROMPT + DEPTH))[0]
    for end in (PROMPT, *range(PROMPT + 1, PROMPT + DEPTH + 1)):
        logits = stream.step(exported.tokens[:, stream.position : end])
        np.testing.assert_allclose(logits, want[:, end - 1], rtol=1e-4, atol=1e-4)
    session.close()


def test_qualcomms_emulation_decodes_a_token_in_float16(exported: Exported, tmp_path: Path) -> None:
    adapter, here = device("onnxruntime", "qnn")
    write_float16(exported.dynamic, tmp_path / "half.onnx")
    feeds = exported.decode(DEPTH)
    shapes = {name: array.shape for name, array in feeds.items()}
    form = static_form(tmp_path / "half.onnx", shapes, "qwen3")
    session = adapter.compile(ModelFile("qwen3", form.path, variant="fp16"), here, Options())
    assert set(session.placement().nodes) == {"qnn"}
    logits = form.whole(session.run({name: feeds[name] for name in form.inputs}))[0]
    want = exported.run(feeds)[0]
    assert logits.argmax() == want.argmax()
    np.testing.assert_allclose(logits, want, atol=0.01 * np.abs(want).max())
    session.close()


@pytest.mark.parametrize(
    "name", ["LlamaForCausalLM", "Gemma3ForCausalLM", "DeepseekV3ForCausalLM", "GPT2LMHeadModel"]
)
def test_the_form_with_a_static_cache_is_checked_against_pytorch(name: str, tmp_path: Path) -> None:
    assert export_buffered(find_model(str(save(name, tmp_path))), tmp_path / "cache").is_file()


def test_a_state_that_is_more_than_keys_and_values_has_no_static_cache(tmp_path: Path) -> None:
    card = find_model(str(save("DeepseekV4ForCausalLM", tmp_path)))
    with pytest.raises(Unsupported, match="DeepseekV4ForCausalLM: its state is more than keys"):
        export_buffered(card, tmp_path / "cache")
