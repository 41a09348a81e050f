"""Certifying language models: what is asked of a session, and that no wrong port is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import bigrams
import numpy as np
import pytest
from bigram_cells import lines, planned
from scipy.special import log_softmax

from bench.backend import ModelFile, Options, Placement, TensorSpec
from bench.cards.batch import BatchAxis
from bench.cards.language.tokens import Tokens
from bench.errors import Unsupported
from bench.judge.certify.finding import Seen, findings
from bench.measure.listener import QuietProgress
from bench.measure.plan import PlannedCell
from bench.record.certificate import Asked, Finding
from bench.runtimes.processes import Launcher
from bench.store.certificates import Evidence
from bench.trials.certify import running, texts
from bench.trials.certify.passes import Cast, examine, limit_of
from bench.trials.certify.texts import Texts
from bench.trials.certify.where import of_language
from bench.variants import FP32, held_to
from bench.worker import messages as m

NOBODY = cast(Launcher, None)
TEXT = bigrams.genesis()
PIECES = [TEXT[start : start + 150] for start in range(0, len(TEXT) - 150, 150)]
DATA = lines(*({"text": text, "document": f"Genesis {n}"} for n, text in enumerate(PIECES)))


@dataclass
class Sessions:
    """A session of bigrams for each model file, by its table; it notes what it was asked."""

    tables: dict[Path, np.ndarray] = field(default_factory=dict)
    asked: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  #: threads, shape
    fault: Callable[[np.ndarray], np.ndarray] = np.asarray

    @contextmanager
    def loaded(self, *given: Any, cpus: object = ()) -> Iterator[tuple[Any, m.LoadedInfo]]:
        _, _, _, file, options = given
        assert isinstance(file, ModelFile)
        assert isinstance(options, Options)
        assert file.onnx is not None
        session = Session(self, self.tables[file.onnx], options)
        names = ("present.0.key", "logits", "present.0.value")
        specs = tuple(TensorSpec(name, "float32", (-1,)) for name in names)
        yield session, m.LoadedInfo(1, None, (), specs)


@dataclass
class Session:
    all: Sessions
    table: np.ndarray
    options: Options

    def evaluate(self, feeds: Any) -> list[np.ndarray]:
        ids = feeds["input_ids"]
        assert feeds["past_key_values.0.key"].shape == (len(ids), 1, 0, 1)
        assert self.options.shapes["input_ids"] == ids.shape
        self.all.asked.append((self.options.threads, ids.shape))
        state = np.zeros((len(ids), 1, ids.shape[1], 1), np.float32)
        return [state, self.all.fault(self.table[ids]), state]

    def placement(self, feeds: Any) -> Placement:
        assert "input_ids" in feeds
        return Placement({"cpu": 3}, "a test")

    def go_on(self, asked: m.GoOn) -> np.ndarray:
        said, last = [], int(asked.tokens[-1])
        while len(said) < asked.most and last not in asked.ends.tolist():
            last = int(self.table[last].argmax())
            said.append(last)
        return np.array(said, np.int64)

    def score_tokens(self, asked: m.ScoreTokens) -> m.TokenScores:
        from bench.worker.likelihoods import likelihoods

        assert asked.output == 1
        return likelihoods(self.evaluate(asked.feeds)[1], asked.targets, asked.top)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    found = Sessions()
    monkeypatch.setattr(texts, "loaded_worker", found.loaded)
    monkeypatch.setattr(running, "loaded_worker", found.loaded)
    for name in ("texts", "questions"):
        monkeypatch.setattr(f"bench.measure.language.{name}.loaded_worker", found.loaded)
    monkeypatch.setattr(texts, "FLOOR_TOKENS", 400)
    return found


@pytest.fixture(scope="module")
def ids_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], np.ndarray]:
    return Tokens(bigrams.tokenizer(tmp_path_factory.mktemp("any") / "tokenizer.json")).ids


@pytest.fixture
def came(ids_of: Callable[[str], np.ndarray]) -> np.ndarray:
    """All tokens that are scored, in order."""
    return np.concatenate([ids_of(text) for text in PIECES])


@pytest.fixture
def last(ids_of: Callable[[str], np.ndarray]) -> np.ndarray:
    """The token before each."""
    return np.concatenate([[bigrams.END, *ids_of(text)[:-1]] for text in PIECES])


@pytest.fixture
def table(ids_of: Callable[[str], np.ndarray]) -> np.ndarray:
    """Of bigrams, with a little of each pair of tokens that nothing else has: no two logits tie."""
    noise = np.random.default_rng(2).normal(0, 0.01, (257, 257))
    return np.asarray(bigrams.table(ids_of(TEXT)) + noise, np.float32)


def a_party(sessions: Sessions, folder: Path, table: np.ndarray, name: str) -> PlannedCell:
    """A cell of a model in its folder, which the session answers for by ``table``."""
    (folder / name).mkdir()
    found = planned(folder / name, DATA, window=64)
    sessions.tables[folder / name / "model.onnx"] = table
    identity = found.cell.model.model_copy(update={"name": name})
    cell = found.cell.model_copy(update={"model": identity})
    return replace(found, cell=cell, batch_axis=BatchAxis({"input_ids": 0}))


def judged(
    reference: PlannedCell, candidate: PlannedCell, folder: Path, margin: float = 0.01
) -> tuple[Finding, Seen, Evidence]:
    cast_ = Cast(reference, (candidate,))
    examiner = Texts(cast_.all, NOBODY, limit_of(reference))
    evidence = Evidence(folder / "certificate")
    listener = QuietProgress()
    passes = examine(cast_, examiner, evidence, listener)
    asked = Asked(
        model="port",
        reference="fake:cpu",
        on=("fake:cpu",),
        variants=("fp32",),
        margin=margin,
        confidence=0.95,
        seed=1,
    )
    answers = running.go_on_alone(cast_, examiner, NOBODY, evidence, listener, 6)
    seen = Seen(asked, examiner.examined, tuple(passes.parties), tuple(passes.passes), answers)
    _, (finding,) = findings(seen, evidence.read)
    return finding, seen, evidence


# -- right and wrong ports ------------------------------------------------------------------------


def rounded(table: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 2e-6, table.shape)
    return np.asarray(table + noise, np.float32)


def flattened(table: np.ndarray) -> np.ndarray:
    """The same order of all tokens, with less of a difference."""
    return np.asarray(table * 0.97, np.float32)


def quantised(table: np.ndarray) -> np.ndarray:
    step = np.abs(table).max() / 127
    return np.asarray(np.round(table / step) * step, np.float32)


def transposed(table: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(table.T)


WRONG = [flattened, quantised, transposed]


def test_an_honest_port_is_the_same(sessions: Sessions, tmp_path: Path, table: np.ndarray) -> None:
    reference = a_party(sessions, tmp_path, table, "model")
    port = a_party(sessions, tmp_path, rounded(table), "port")
    found, seen, _ = judged(reference, port, tmp_path)
    assert found.verdict == "same"
    assert seen.examined.unit == "token"
    assert seen.examined.clusters == len(PIECES)
    assert seen.examined.examples == sum(len(text.encode()) for text in PIECES)
    assert found.numbers is not None
    assert 0 < found.numbers.largest < 2e-5
    assert found.running is not None
    assert found.running.same.value == found.running.same_again == 1


@pytest.mark.parametrize("room", [1 << 20, 0], ids=["some-whole", "none-whole"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_port_is_never_the_same(
    sessions: Sessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[np.ndarray], np.ndarray],
    room: int,
    table: np.ndarray,
) -> None:
    monkeypatch.setattr(texts, "WHOLE_BYTES", room)
    monkeypatch.setattr(texts, "LIKELIEST", 32)
    reference = a_party(sessions, tmp_path, table, "model")
    port = a_party(sessions, tmp_path, wrong(table), "port")
    found, seen, _ = judged(reference, port, tmp_path)
    assert found.verdict != "same"
    if wrong is transposed:
        assert found.verdict == "degraded"
        assert found.running is not None
        assert found.running.same.value < 1
        assert found.running.first["least"] >= 0
    if wrong is flattened:
        assert found.distributions is not None
        assert found.distributions.same_first is not None
        assert found.distributions.same_first.value == 1
    assert any("the rest with bounds" in note for note in seen.examined.notes)


def exchanged(folder: Path, one: str, other: str) -> None:
    """Two tokens change their ids in the tokenizer of a folder."""
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    vocabulary = found["model"]["vocab"]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(("one", "other"), [("e", "f"), ("þ", "ÿ")], ids=["seen", "never-seen"])
def test_a_tokenizer_off_by_one_id_is_never_the_same_though_its_network_is(
    sessions: Sessions,
    tmp_path: Path,
    one: str,
    other: str,
    table: np.ndarray,
) -> None:
    reference = a_party(sessions, tmp_path, table, "model")
    port = a_party(sessions, tmp_path, table, "port")
    exchanged(tmp_path / "port", one, other)
    found, seen, _ = judged(reference, port, tmp_path)
    assert found.verdict == ("degraded" if one == "e" else "equivalent")
    assert "Its tokenizer isn't the reference's" in found.reasons[0]
    assert found.numbers is None
    assert found.decisions is not None
    (plain,) = (p for p in seen.passes if p.party == 1 and p.condition == "plain")
    assert plain.predictions
    assert plain.failure == found.reasons[0]
    assert all(each.party == 0 for each in seen.answers), "other tokens: nothing to go on alike"


def test_what_has_nan_where_the_reference_has_numbers_is_degraded(
    sessions: Sessions, tmp_path: Path, table: np.ndarray, came: np.ndarray
) -> None:
    broken = table.copy()
    broken[came[9], 5] = np.nan
    reference = a_party(sessions, tmp_path, table, "model")
    found, _, _ = judged(reference, a_party(sessions, tmp_path, broken, "port"), tmp_path)
    assert found.verdict == "degraded"
    assert "have NaN or Inf where the reference has numbers" in found.reasons[0]


# -- what the rows hold ---------------------------------------------------------------------------


def the_rows(
    sessions: Sessions, folder: Path, table: np.ndarray, other: np.ndarray
) -> dict[str, np.ndarray]:
    reference = a_party(sessions, folder, table, "model")
    port = a_party(sessions, folder, other, "port")
    examiner = Texts((reference, port), NOBODY, limit_of(reference))
    theirs, mine = (examiner.answer(party, "plain") for party in (reference, port))
    return dict(examiner.rows(mine, theirs))


def exact(last: np.ndarray, table: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The divergence and the acceptance at each token, of the whole distributions."""
    p, q = (log_softmax(t[last].astype(np.float64), axis=1) for t in (table, other))
    return (np.exp(p) * (p - q)).sum(axis=1), np.exp(np.minimum(p, q)).sum(axis=1)


def test_a_row_is_a_token_with_its_divergence_its_difference_and_its_document(
    sessions: Sessions, tmp_path: Path, table: np.ndarray, last: np.ndarray, came: np.ndarray
) -> None:
    other = quantised(table)
    rows = the_rows(sessions, tmp_path, table, other)
    divergence, acceptance = exact(last, table, other)
    np.testing.assert_allclose(rows["divergence"], divergence, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(rows["acceptance"], acceptance, rtol=1e-6)
    off = np.abs(table[last].astype(np.float64) - other[last]).max(axis=1)
    np.testing.assert_allclose(rows["difference"], off, rtol=1e-6)
    probability = np.exp(log_softmax(table[last].astype(np.float64), axis=1))
    np.testing.assert_allclose(rows["p_reference"], probability[np.arange(len(came)), came])
    counts = [len(text.encode()) for text in PIECES]
    assert (rows["document"] == np.repeat(np.arange(len(PIECES)), counts)).all()


def test_what_there_is_no_room_for_lies_between_bounds(
    sessions: Sessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: np.ndarray,
    last: np.ndarray,
) -> None:
    monkeypatch.setattr(texts, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(texts, "LIKELIEST", 24)
    other = quantised(table)
    rows = the_rows(sessions, tmp_path, table, other)
    whole = (1 << 20) // (4 * 257)
    assert whole < len(rows["divergence"])
    for name, truth in zip(("divergence", "acceptance"), exact(last, table, other), strict=True):
        error = rows[f"{name}_error"]
        assert (error[:whole] == 0).all()
        assert (error[whole:] > 0).all()
        assert (rows[name] <= truth + 1e-6).all()
        assert (truth <= rows[name] + error + 1e-6).all()
    assert np.isfinite(rows["divergence_error"]).all()


def test_a_difference_outside_of_what_is_kept_is_seen(
    sessions: Sessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: np.ndarray,
) -> None:
    monkeypatch.setattr(texts, "WHOLE_BYTES", 0)
    monkeypatch.setattr(texts, "LIKELIEST", 8)
    other = table.copy()
    other[:, np.argsort(table.sum(axis=0))[0]] -= 1
    rows = the_rows(sessions, tmp_path, table, other)
    assert (rows["excess"] > 1).all()
    masked = table.copy()
    masked[:, np.argsort(table.sum(axis=0))[0]] = -np.inf
    (tmp_path / "again").mkdir()
    rows = the_rows(sessions, tmp_path / "again", table, masked)
    assert (rows["nonfinite"] == 1).all()


def test_it_is_looked_where_it_differs_on_the_shortest_text_after_which_it_does(
    sessions: Sessions, tmp_path: Path, table: np.ndarray, came: np.ndarray
) -> None:
    party = a_party(sessions, tmp_path, table, "model")
    examiner = Texts((party,), NOBODY, limit_of(party))
    view = examiner.view(party)
    nowhere = np.zeros(view.rows)
    assert list(of_language(examiner)(party, {"excess": nowhere, "nonfinite": nowhere})) == []
    excess = nowhere.copy()
    excess[[3, 150 + 70, 150 + 20, 300 + 40]] = 2  # of the texts' own tokens, 150 each
    found = dict(of_language(examiner)(party, {"excess": excess, "nonfinite": nowhere}))
    text = np.array([bigrams.END, *came[150 : 150 + 20]])
    assert found["prefill"].feeds["input_ids"].tolist() == [text.tolist()]
    assert found["prefill"].prompt is None
    decode = found["decode"]
    assert decode.feeds["input_ids"].tolist() == [[text[-1]]]
    assert decode.prompt is not None
    assert decode.prompt.tolist() == [text[:-1].tolist()]
    assert decode.options.shapes["past_key_values.0.key"] == (1, 1, 20, 1)
    nonfinite = nowhere.copy()
    nonfinite[2] = 1
    found = dict(of_language(examiner)(party, {"excess": nowhere, "nonfinite": nonfinite}))
    assert found["prefill"].feeds["input_ids"].shape == (1, 3)


# -- the noise floor ------------------------------------------------------------------------------


def test_each_condition_asks_otherwise_and_gives_rows_in_the_same_order(
    sessions: Sessions,
    tmp_path: Path,
    table: np.ndarray,
) -> None:
    reference = a_party(sessions, tmp_path, table, "model")
    examiner = Texts((reference,), NOBODY, limit_of(reference))
    plain = examiner.answer(reference, "plain")
    rows, length = sessions.asked[-1][1]
    assert rows > 1
    assert set(examiner.conditions(reference)) == {"again", "threads", "batch", "position"}
    for condition in examiner.conditions(reference):
        sessions.asked.clear()
        other = examiner.answer(reference, condition)
        found = examiner.rows(other, plain)
        assert 400 <= len(found["difference"]) < len(plain.outputs[0]), "a part is enough"
        assert (found["difference"] == 0).all()
        assert {threads for threads, _ in sessions.asked} == {1 if condition == "threads" else 3}
        shapes = {shape for _, shape in sessions.asked}
        assert shapes == {(1 if condition == "batch" else rows, length)}
        document, bytes_ = other.predictions["document"], other.predictions["bytes"]
        count = len(document)
        assert (document == plain.predictions["document"][:count]).all()
        assert (bytes_ == plain.predictions["bytes"][:count]).all()


def test_an_answer_that_depends_on_the_place_in_the_query_is_in_the_floor(
    sessions: Sessions,
    tmp_path: Path,
    table: np.ndarray,
) -> None:
    def fault(logits: np.ndarray) -> np.ndarray:
        return np.concatenate([logits[:1], logits[1:] + np.float32(0.01)])

    sessions.fault = fault
    reference = a_party(sessions, tmp_path, table, "model")
    found, seen, evidence = judged(reference, a_party(sessions, tmp_path, table, "port"), tmp_path)
    floor, _ = findings(seen, evidence.read)
    assert found.verdict == "same", "equal to the last bit, asked alike"
    assert floor["again"].largest == 0
    assert floor["batch"].largest == pytest.approx(0.01, rel=1e-3)
    assert floor["position"].largest == pytest.approx(0.01, rel=1e-3)


def test_without_data_the_ids_are_drawn_and_nothing_is_decided(
    sessions: Sessions,
    tmp_path: Path,
    table: np.ndarray,
) -> None:
    (tmp_path / "model").mkdir()
    with_data = planned(tmp_path / "model", DATA, tokenizer=False)
    sessions.tables[tmp_path / "model" / "model.onnx"] = table
    reference = replace(with_data, model=replace(with_data.model, dataset=None))
    examiner = Texts((reference,), NOBODY, limit_of(reference))
    answer = examiner.answer(reference, "plain")
    assert answer.predictions == {}
    assert examiner.examined.dataset == ""
    assert "the token ids are random" in examiner.examined.notes[0]
    assert len(examiner.rows(answer, answer)["difference"]) == examiner.examined.examples > 1000


def test_books_are_groups_of_chapters(
    sessions: Sessions, tmp_path: Path, table: np.ndarray
) -> None:
    names = [f"{book} {n}" for book in ("Ruth", "Ezra") for n in range(8)]
    (tmp_path / "model").mkdir()
    data = lines(*({"text": t, "document": n} for t, n in zip(PIECES, names, strict=False)))
    reference = planned(tmp_path / "model", data)
    sessions.tables[tmp_path / "model" / "model.onnx"] = table
    examiner = Texts((reference,), NOBODY, limit_of(reference))
    assert examiner.examined.groups == ("Ruth", "Ezra")
    columns = examiner.answer(reference, "plain").predictions
    assert (columns["group"] == (columns["document"] >= 8)).all()


def test_other_vocabularies_cannot_be_compared_row_by_row(
    sessions: Sessions,
    tmp_path: Path,
    table: np.ndarray,
) -> None:
    reference = a_party(sessions, tmp_path, table, "model")
    port = a_party(sessions, tmp_path, table, "port")
    decoder = port.model.decoder
    assert decoder is not None
    port = replace(port, model=replace(port.model, decoder=replace(decoder, vocabulary=300)))
    sessions.tables[tmp_path / "port" / "model.onnx"] = np.zeros((257, 300), np.float32)
    examiner = Texts((reference, port), NOBODY, limit_of(reference))
    theirs, mine = (examiner.answer(party, "plain") for party in (reference, port))
    with pytest.raises(Unsupported, match="has 300 tokens and the reference's 257"):
        examiner.rows(mine, theirs)
    assert mine.predictions


def of_data(sessions: Sessions, folder: Path, table: np.ndarray, data: str) -> PlannedCell:
    folder.mkdir()
    sessions.tables[folder / "model.onnx"] = table
    return planned(folder, data)


def test_of_questions_the_tokens_of_each_choice_are_compared_and_the_questions_decide(
    sessions: Sessions, tmp_path: Path, table: np.ndarray
) -> None:
    data = lines(
        *(
            {"context": text[:40], "choices": [text[40:50], "zzz"], "answer": 0}
            for text in PIECES[:12]
        )
    )
    party = of_data(sessions, tmp_path / "model", table, data)
    examiner = Texts((party,), NOBODY, limit_of(party))
    answer = examiner.answer(party, "plain")
    assert answer.predictions["gold"].sum() == 12
    assert examiner.examined.clusters == 12
    rows = examiner.rows(answer, answer)
    assert (rows["document"][:10] == 0).all()
    assert len(rows["difference"]) == examiner.examined.examples == answer.outputs[0].shape[0]
    # The question is gone on with, and not a choice of it.
    starts = examiner.view(party).starts
    assert len(starts) == 12
    assert len(starts[0]) in (40, 41)


def test_of_prompts_their_tokens_are_compared_and_the_answers_decide(
    sessions: Sessions, tmp_path: Path, table: np.ndarray
) -> None:
    data = lines(*({"prompt": text[:70], "answer": "of"} for text in PIECES[:12]))
    party = of_data(sessions, tmp_path / "model", table, data)
    examiner = Texts((party,), NOBODY, limit_of(party))
    answer = examiner.answer(party, "plain")
    assert set(answer.predictions) == {"document", "right", "answer", "tokens"}
    assert len(answer.predictions["right"]) == 12
    assert examiner.examined.examples == 12 * 70
    assert [len(start) for start in examiner.view(party).starts] == [71] * 12, "all of it"
    again = examiner.answer(party, "again")
    some = len(again.predictions["right"])
    assert 0 < some < 12
    assert (again.predictions["answer"] == answer.predictions["answer"][:some]).all()
    assert examiner.answer(party, "threads").predictions


# -- greedy answers -------------------------------------------------------------------------------


def test_where_answers_part_is_told_with_how_near_the_reference_was_to_a_tie() -> None:
    one, two = np.arange(6), np.array([0, 1, 9, 3, 4, 5])
    gaps = [np.array([5.0, 4.0, 0.5, 3.0, 2.0, 1.0])] * 3
    rows = running.rows_of([one, one, one], [one, two, one[:4]], gaps)
    assert rows["first"].tolist() == [-1, 2, 4]
    assert rows["tokens"].tolist() == [6, 6, 6]
    np.testing.assert_array_equal(rows["gap"], [np.nan, 0.5, 2.0])


def test_a_tie_of_the_two_likeliest_is_told_as_one(
    sessions: Sessions, tmp_path: Path, table: np.ndarray
) -> None:
    """In every row the two likeliest are nearer than float32 tells; the port takes the other."""
    best = table.argsort(axis=1)
    rows = np.arange(len(table))
    table[rows, best[:, -2]] = table[rows, best[:, -1]] - np.float32(2e-6)
    port = table.copy()
    port[rows, best[:, -2]] += np.float32(4e-6)
    reference = a_party(sessions, tmp_path, table, "model")
    found, _, _ = judged(reference, a_party(sessions, tmp_path, port, "port"), tmp_path)
    assert found.verdict == "same"
    assert found.running is not None
    assert found.running.same.value < 1
    assert found.running.ties == found.running.prompts - round(
        found.running.same.value * found.running.prompts
    )


def test_how_near_a_tie_was_is_that_of_the_token_itself_and_of_none_beside_it(
    sessions: Sessions, tmp_path: Path, table: np.ndarray
) -> None:
    reference = a_party(sessions, tmp_path, table, "model")
    examiner = Texts([reference], NOBODY, limit_of(reference))
    asked = [np.array([bigrams.END, 40, 41]), np.array([bigrams.END, 90])]
    said = [np.array([50, 60, 70]), np.array([80, 81])]
    before = [[41, 50, 60], [90, 80]]
    expected = [np.diff(np.sort(table[ids])[:, -2:])[:, 0] for ids in before]
    found = running._gaps(examiner, reference, asked, said, NOBODY)
    assert [len(each) for each in found] == [3, 2]
    for gaps, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(gaps, wanted, atol=1e-5)


def test_a_reference_that_is_held_to_a_cosine_elsewhere_is_held_to_rounding_here(
    tmp_path: Path,
) -> None:
    found = planned(tmp_path, DATA)
    quantised = replace(found, cell=found.cell.model_copy(update={"variant": "int8-static"}))
    assert held_to("int8-static", "").tolerance.cosine is not None
    assert limit_of(quantised) == limit_of(found) == FP32.tolerance
