"""How often `bench certify` calls an honest port the same, and a wrong one.

Wrong ports are the embedded models with one fault each, written into a copy of their graph: a layer
whose weights are off by 1%, a layer rounded to 8 bits, a kernel or a head transposed, an operator
whose result is off by 1%, outputs halved (the first stays the first, the distributions are
flatter), and a tokenizer off by one id. Honest ones are the same models on every other runtime
here, with other numbers of threads.

What a certificate said is kept in a folder whose name is made of this file, of the models and of
what judges: a proof that was interrupted goes on, and one of changed code starts anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from engine import HERE, Finding, report
from onnx import numpy_helper
from scipy.special import log_softmax, rel_entr

from bench.cards.tasks import find_task
from bench.folders import cache_folder
from bench.judge.certify.decisions import decisions_of
from bench.judge.certify.verdict import judge
from bench.measure.listener import QuietProgress
from bench.record.certificate import Certificate, Numbers
from bench.stats.divergence import divergences
from bench.stats.proportion import clopper_pearson
from bench.trials.certify.make import Request, make

MODELS = HERE.parents[1] / "models"
REFERENCE = "onnxruntime:cpu"
CLASSIFIERS = ("fashion-teacher", "fashion-student", "fashion-student-ce")
#: Language models, and of whose faults each so many-th is tried; each begins with another.
LANGUAGE = {"verse-student": 2, "verse-student-ce": 12}
EXAMPLES = 2000
DOCUMENTS = 4  #: of language models, some hundred tokens each
MARGIN = 0.005
TRIALS = 2000  #: simulated ports at each edge of the margin
OFF_BY_ONE = "its tokenizer off by one id"
#: Operators of which three are off by 1%, one at a time.
HEAVY = ("Conv", "Gemm", "MatMul")


# -- ports ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Port:
    """One certificate: what was certified, and the verdict."""

    name: str
    verdict: str
    roundings: float | None
    reason: str


def certified(name: str, **asked: Any) -> list[Port]:
    """Each target's verdict; those of an earlier try where there are any."""
    stem = hashlib.sha256(f"{name} {sorted(asked.items())}".encode()).hexdigest()[:16]
    kept = _kept() / f"{stem}.json"
    if not kept.exists():
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(port) for port in _certified(name, asked)]))
        partial.replace(kept)
    found = [Port(**values) for values in json.loads(kept.read_text())]
    for port in found:
        print(f"  {port}", flush=True)
    return found


def _certified(name: str, asked: dict[str, Any]) -> list[Port]:
    with tempfile.TemporaryDirectory(prefix="bench-proof-certificate-") as folder:
        request = Request(reference=REFERENCE, looks_where=False, prompts=0, **asked)
        made = make(request, QuietProgress(), Path(folder) / "certificate", "proof")
    return ports(made, name)


@cache
def _kept() -> Path:
    root = HERE.parents[1]
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(
        [
            *(root / "bench" / "judge" / "certify").glob("*.py"),
            *(root / "bench" / "trials" / "certify").glob("*.py"),
            *(path for name in (*CLASSIFIERS, *LANGUAGE) for path in MODELS.glob(f"{name}*/*")),
            *(path for name in (*CLASSIFIERS, *LANGUAGE) for path in MODELS.glob(f"{name}.*")),
        ]
    ):
        digest.update(path.read_bytes())
    folder = cache_folder() / "proof" / f"certificates-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def ports(certificate: Certificate, name: str) -> list[Port]:
    found = []
    for finding in certificate.findings:
        party = certificate.parties[finding.party]
        found.append(
            Port(
                f"{name} on {party.target}, {party.threads} threads",
                finding.verdict,
                finding.numbers.roundings if finding.numbers else None,
                finding.reasons[-1],
            )
        )
    return found


def honest(quick: bool) -> list[Port]:
    """Every model on other runtimes, with two threads and with one."""
    return [
        port
        for name, examples, on in _models(quick)
        for threads in ((2,) if quick else (2, 1))
        for port in certified(name, model=name, on=on, threads=threads, examples=examples)
    ]


def _models(quick: bool) -> list[tuple[str, int, tuple[str, ...]]]:
    """Models, how much of their data, and the runtimes that are asked: classifiers everywhere that
    isn't simulated, language models where a prompt takes seconds."""
    found = [(name, EXAMPLES, ("*",)) for name in CLASSIFIERS]
    found += [(name, DOCUMENTS, ("openvino:cpu", "torch:cpu")) for name in LANGUAGE]
    return found[1:2] if quick else found


def wrong(quick: bool) -> list[Port]:
    found = []
    folder = Path(tempfile.gettempdir()) / "bench-proof-faults"  # the name is part of what is kept
    for name, examples, _ in _models(quick):
        for fault, card in faulty(name, folder / name):
            found += certified(
                f"{name}, {fault}",
                model=str(card),
                against=name,
                on=(REFERENCE,),
                examples=examples,
            )
    return found


# -- faults ---------------------------------------------------------------------------------------


def faulty(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Cards of the model with one fault each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    card = tomllib.loads((MODELS / f"{name}.toml").read_text())
    source = MODELS / card["source"]["onnx"]
    faults = [*every_fault(source)]
    if name in LANGUAGE:
        faults = faults[list(LANGUAGE).index(name) :: LANGUAGE[name]]
        faults.append(("outputs halved", lambda: halved(onnx.load(str(source)))))
        faults.append((OFF_BY_ONE, lambda: onnx.load(str(source))))
    for number, (what, graph) in enumerate(faults):
        stem = f"{name}-{number}"
        (folder / stem).mkdir()
        onnx.save(graph(), str(folder / stem / "model.onnx"))
        if "pretrained" in card["source"]:
            pretrained = MODELS / card["source"]["pretrained"]
            ignored = shutil.ignore_patterns("*.onnx")
            shutil.copytree(pretrained, folder / stem, ignore=ignored, dirs_exist_ok=True)
        if what == OFF_BY_ONE:
            shift_ids(folder / stem / "tokenizer.json")
        yield what, write_card(card, stem, folder)


def shift_ids(path: Path) -> None:
    """Each token gets the id of the one before it, but the special ones."""
    value = json.loads(path.read_text())
    special = {token["content"] for token in value["added_tokens"]}
    words = [word for word in value["model"]["vocab"] if word not in special]
    ids = [value["model"]["vocab"][word] for word in words]
    value["model"]["vocab"].update(zip(words, ids[-1:] + ids[:-1], strict=True))
    path.write_text(json.dumps(value))


def write_card(card: dict[str, Any], stem: str, folder: Path) -> Path:
    """The model's card with another graph, and nothing else to compute from."""
    text = (MODELS / f"{card['name']}.toml").read_text().partition("[provenance]")[0]
    for pattern, instead in {
        r'^name = ".*"$': f'name = "{stem}"',
        r"^(torch|weights|distilled_from|control_of) = .*\n": "",
        r"^pretrained = .*$": f'pretrained = "{stem}"',
        r"^onnx = .*$": f'onnx = "{stem}/model.onnx"',
    }.items():
        text = re.sub(pattern, instead, text, count=0 if "torch" in pattern else 1, flags=re.M)
    text = re.sub(r'^path = "(.*)"$', rf'path = "{MODELS}/\1"', text, flags=re.M)
    path = folder / f"{stem}.toml"
    path.write_text(text)
    return path


def every_fault(source: Path) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    graph = onnx.load(str(source))
    weights = [
        place
        for place, tensor in enumerate(graph.graph.initializer)
        if len(tensor.dims) > 1 and min(tensor.dims) > 1
    ]
    for kind, change in (("1% off", off), ("rounded to 8 bits", rounded), ("transposed", turned)):
        for place in weights:
            tensor = graph.graph.initializer[place]
            values = change(numpy_helper.to_array(tensor))
            if values is not None:
                yield f"{tensor.name} {kind}", partial(with_weights, graph, place, values)
    heavy = [n for n, node in enumerate(graph.graph.node) if node.op_type in HEAVY]
    for place in (heavy[0], heavy[len(heavy) // 2], heavy[-1]):
        node = graph.graph.node[place]
        what = f"{node.op_type} to {node.output[0]} off by 1%"
        yield what, partial(scaled, graph, node.output[0], 1.01)
    if source.stem in CLASSIFIERS:
        yield "outputs halved", partial(halved, graph)


def with_weights(graph: onnx.ModelProto, place: int, values: np.ndarray) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    name = copy.graph.initializer[place].name
    copy.graph.initializer[place].CopyFrom(numpy_helper.from_array(values, name))
    return copy


def off(weights: np.ndarray) -> np.ndarray:
    """Each weight 1% more or less, in turn."""
    sign = np.where(np.arange(weights.size) % 2, 1.0, -1.0).reshape(weights.shape)
    return np.asarray(weights * (1 + 0.01 * sign), weights.dtype)


def rounded(weights: np.ndarray) -> np.ndarray:
    """To 255 levels, one scale for all."""
    step = np.abs(weights).max() / 127
    return np.asarray(np.round(weights / step) * step, weights.dtype)


def turned(weights: np.ndarray) -> np.ndarray | None:
    """The kernel's rows for its columns; of a matrix the first square of 8, as of one head."""
    values = weights.copy()
    if weights.ndim == 4:
        return np.ascontiguousarray(values.swapaxes(2, 3)) if weights.shape[2] > 1 else None
    if weights.ndim != 2 or min(weights.shape) < 8:
        return None
    values[:8, :8] = weights[:8, :8].T
    return values


def halved(graph: onnx.ModelProto) -> onnx.ModelProto:
    return scaled(graph, graph.graph.output[0].name, 0.5)


def scaled(graph: onnx.ModelProto, name: str, by: float) -> onnx.ModelProto:
    """With one tensor multiplied, right behind the node that makes it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    nodes = list(copy.graph.node)
    at = next(place for place, node in enumerate(nodes) if name in node.output)
    nodes[at].output[:] = [f"{name}_whole" if each == name else each for each in nodes[at].output]
    copy.graph.initializer.append(numpy_helper.from_array(np.float32(by), "factor"))
    nodes.insert(at + 1, onnx.helper.make_node("Mul", [f"{name}_whole", "factor"], [name]))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


# -- error rates ----------------------------------------------------------------------------------


def simulated(difference: float, flips: float, examples: int, seed: int) -> dict[str, int]:
    """Verdicts on ports whose true change of top-1 is ``difference`` and which flip a share
    ``flips`` of the answers, in ten classes alike."""
    rng = np.random.default_rng(seed)
    label = np.arange(examples) % 10
    lost, gained = (flips - difference) / 2, (flips + difference) / 2
    far = Numbers(
        rows=examples,
        beyond=examples,
        nonfinite=0,
        nonfinite_reference=0,
        largest=1.0,
        median=1.0,
        p99=1.0,
        roundings=1e6,
    )
    found: dict[str, int] = {}
    for _ in range(TRIALS):
        kind = rng.choice(4, examples, p=[lost, gained, 0.85, 0.15 - flips])
        theirs = np.where((kind == 0) | (kind == 2), label, 10)
        mine = np.where((kind == 1) | (kind == 2), label, 10)
        reference = {"label": label, "predicted": theirs, "group": label}
        decisions = decisions_of(
            find_task("classification"),
            {**reference, "predicted": mine},
            reference,
            MARGIN,
            0.95,
            [str(c) for c in range(10)],
        )
        verdict = judge(far, [], decisions, "example").verdict
        found[verdict] = found.get(verdict, 0) + 1
    return found


def share(count: int, of: int) -> str:
    found = clopper_pearson(count, of)
    return (
        f"{count} of {of} ({found.estimate:.1%}; 95% interval {found.low:.1%} to {found.high:.1%})"
    )


def divergence_error() -> float:
    rng = np.random.default_rng(0)
    p, q = (log_softmax(rng.normal(0, 4, (20_000, 50)), axis=1) for _ in range(2))
    return float(np.abs(divergences(p, q) - rel_entr(np.exp(p), np.exp(q)).sum(axis=1)).max())


# -- the figures ----------------------------------------------------------------------------------


def prove(quick: bool) -> None:
    global TRIALS
    if quick:
        TRIALS = 200
    worse = simulated(-MARGIN, 0.02, 5000, 1)
    kept = simulated(0.0, 0.004, 10_000, 2)
    edge = simulated(-MARGIN, 0.006, 5000, 3)
    good, bad = honest(quick), wrong(quick)
    same = sum(port.verdict == "same" for port in good)
    fooled = sum(port.verdict == "same" for port in bad)
    error = divergence_error()
    report(
        "certificates",
        _findings(good, bad, same, fooled, worse, kept, edge, error),
        {
            "honest": [vars(port) for port in good],
            "wrong": [vars(port) for port in bad],
        },
    )


def _findings(
    good: list[Port],
    bad: list[Port],
    same: int,
    fooled: int,
    worse: dict[str, int],
    kept: dict[str, int],
    edge: dict[str, int],
    error: float,
) -> list[Finding]:
    equivalent = worse.get("equivalent", 0), edge.get("equivalent", 0)
    degraded = kept.get("degraded", 0)
    return [
        Finding("wrong ports called the same", share(fooled, len(bad)), "none", fooled == 0),
        Finding(
            "honest ports called the same",
            share(same, len(good)),
            "at least 95% of 30",
            len(good) >= 30 and same / len(good) >= 0.95,
        ),
        Finding(
            "simulated ports worse by the margin called equivalent, 2% of answers flipped",
            share(equivalent[0], TRIALS),
            "at most 5%",
            equivalent[0] / TRIALS <= 0.057,
        ),
        Finding(
            "the same, 0.6% of answers flipped",
            share(equivalent[1], TRIALS),
            "at most 5%",
            equivalent[1] / TRIALS <= 0.057,
        ),
        Finding(
            "simulated ports without a true change called degraded",
            share(degraded, TRIALS),
            "at most 5%",
            degraded / TRIALS <= 0.05,
        ),
        Finding(
            "KL divergence of 20,000 distributions beside SciPy's, largest difference",
            f"{error:.1e} nats",
            "1e-6",
            error <= 1e-6,
        ),
    ]
