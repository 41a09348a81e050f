"""The real command certifies a language model on a device with a fault, and names the fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import onnx
import pytest
from onnx import helper

from bench.contract.made_decoders import write_dynamic
from bench.record.certificate import Certificate


def with_relu(path: Path) -> Path:
    """The hand-made decoder with a Relu behind its embedding, which the faulty device gets
    wrong."""
    model = onnx.load(str(write_dynamic(path)))
    (shifted,) = (node for node in model.graph.node if "embedded" in node.input)
    shifted.input[0] = "positive"
    place = list(model.graph.node).index(shifted)
    relu = helper.make_node("Relu", ["embedded"], ["positive"], name="the_fault")
    model.graph.node.insert(place, relu)
    onnx.save(model, str(path))
    return path


@pytest.mark.slow
@pytest.mark.long
def test_a_faulty_operator_is_named_at_a_prompt_and_at_a_token_behind_it(
    bench: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    model = with_relu(tmp_path / "decoder.onnx")
    done = bench(
        *("certify", str(model), "-r", "onnxruntime:cpu", "--on", "skewed:npu:0"),
        *("--prompts", "3", "-o", "out", "--json"),
    )
    assert done.returncode == 3, done.stderr
    certificate = Certificate.model_validate(json.loads(done.stdout))
    (finding,) = certificate.findings
    assert finding.verdict == "inconclusive", "there is no data that could tell if it matters"
    assert finding.numbers is not None
    assert finding.numbers.beyond > 0
    assert finding.distributions is not None
    assert finding.distributions.divergence is not None
    assert finding.distributions.divergence.value > 0
    assert certificate.examined.unit == "token"
    assert "ids are random" in certificate.examined.notes[0]
    assert set(certificate.floor) >= {"again", "threads"}
    assert finding.running is not None
    assert finding.running.prompts == 3
    assert finding.running.same_again == 1
    found = {place.stage: (place.tensor, place.op, place.node) for place in certificate.places}
    assert found == {
        "prefill": ("positive", "Relu", "the_fault"),
        "decode": ("positive", "Relu", "the_fault"),
    }
    for name in certificate.files:
        assert (tmp_path / "out" / name).is_file()
