"""Examining a language model: what it makes of every token of a text, all before it given.

A row is a token. The logits of as many tokens as there is room for are compared whole; of those
beyond, the ids that the reference finds likeliest, and the rest with bounds
(`bench.record.likeliest`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.arrays import Array
from bench.cards.datasets.examples import Examples, Prompt
from bench.cards.tasks import find_task
from bench.errors import AccuracyFailed, Unsupported
from bench.measure.language.questions import answer_columns
from bench.measure.language.steps import tokenizer_of
from bench.measure.language.texts import (
    TOP,
    Form,
    form_of,
    logits_place,
    options_for,
    queries,
    window_span,
)
from bench.measure.member import told_placement
from bench.measure.plan import PlannedCell
from bench.record.certificate import Condition, Examined
from bench.record.likeliest import Likeliest, kept_of, likeliest_ids, likeliest_rows
from bench.record.rows import distribution_rows, output_rows
from bench.runtimes.client import Worker
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.trials.certify.examiner import Answer
from bench.trials.certify.samples import other_threads
from bench.trials.certify.views import (
    View,
    drawn_view,
    groups_of,
    refuse_nothing,
    view_of,
    windows_digest,
)
from bench.variants import Tolerance
from bench.worker.likelihoods import likelihoods
from bench.worker.messages import TokenScores

#: The reference is asked again for the first examples, until they have so many tokens.
FLOOR_TOKENS = 4096
#: Bytes of a party's logits that are kept whole. Three parties' are kept at a time.
WHOLE_BYTES = 512 << 20
#: Of a token's logits beyond that, so many stay.
LIKELIEST = 256
#: By how many windows each moves within the data, and so within its query.
_SHIFT = 1
#: Logits that are compared at once, in float64: 32 MB for each array of them.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class _TextAnswer(Answer):
    """``outputs`` are the logits of the first rows, whole; ``kept`` is what stays of all others,
    and ``view`` what was asked."""

    view: View | None = None
    kept: Likeliest | None = None


class Texts:
    """See `bench.trials.certify.examiner.Examiner`."""

    def __init__(
        self,
        parties: Sequence[PlannedCell],
        launcher: Launcher,
        tolerance: Tolerance,
        most: int | None = None,
        seed: int = 1,
    ) -> None:
        """``parties`` are all that will be asked, the reference first."""
        self._launcher = launcher
        self._tolerance = tolerance
        self._seed = seed
        self._task = find_task(parties[0].model.card.task)
        data = parties[0].model.dataset
        self._examples: Examples = () if data is None else data.language[:most]
        self._span = _common_span(parties)
        self._views: dict[tuple[str, int], View] = {}
        self._ids: dict[str, Array] = {}  #: of the rows beyond, by the split that they are of
        self._groups, self._group_of = groups_of(
            list(dict.fromkeys(one.document for one in self._examples))
        )
        view = self.view(parties[0])
        refuse_nothing(view, parties[0].model.card.name)
        self._part_examples = self._enough(parties[0])
        self.examined = self._examined(parties[0], view)

    def view(self, planned: PlannedCell) -> View:
        """All examples as a party's model sees them."""
        return self._view(planned, len(self._examples))

    def conditions(self, planned: PlannedCell) -> dict[Condition, str]:
        threads = planned.options.threads
        other = other_threads(threads)
        ways: dict[Condition, str] = {
            "again": "in a fresh process",
            "threads": f"{other} thread{'s' * (other > 1)} instead of {threads}",
        }
        rows = self._form(planned).rows
        if rows > 1 and planned.batch_axis.fixed is None:
            ways["batch"] = f"one window per query instead of {rows}"
            ways["position"] = "each window in another place of its query"
        return ways

    def answer(self, planned: PlannedCell, condition: Condition) -> Answer:
        whole, form = self.view(planned), self._form(planned)
        view = whole if condition == "plain" else self._part(planned)
        if condition == "batch":
            form = replace(form, rows=1)
        if condition == "threads":
            other = other_threads(planned.options.threads)
            planned = replace(planned, options=replace(planned.options, threads=other))
        shift = _SHIFT if condition == "position" else 0
        store = _Store(view, self._ids.get(whole.split))
        choice = planned.choice
        with loaded_worker(
            self._launcher,
            choice.runtime,
            choice.device,
            planned.file,
            options_for(planned, view.decoder, form),
        ) as (worker, loaded):
            place = logits_place(view.decoder, loaded)
            for logits, targets, at in _asked(worker, view, form, place, shift):
                store.put(logits, targets, at)
            feeds, _ = next(queries(view.decoder, view.every, form))
            placement = told_placement(worker.placement(feeds))
        self._ids.setdefault(whole.split, store.ids)
        return _TextAnswer(
            [store.whole],
            placement,
            self._predictions(planned, view, store, condition),
            replace(view, split=whole.split),
            store.kept,
        )

    def rows(self, mine: Answer, theirs: Answer) -> dict[str, Array]:
        seen, asked = _view_of(mine), _view_of(theirs)
        if seen.split != asked.split:
            raise Unsupported(_unlike(seen, asked))
        a, b = mine.outputs[0], theirs.outputs[0]
        if a.shape[1] != b.shape[1]:
            raise Unsupported(_other_sizes(a.shape[1], b.shape[1]))
        count = min(len(a), len(b))
        found = _rows_of_whole(a[:count], b[:count], asked.right[:count], self._tolerance)
        more = self._further(mine, theirs)
        if more:
            found = {
                name: np.concatenate([found.get(name, np.zeros(count)), values])
                for name, values in more.items()
            }
        return {**found, "document": asked.clusters[: len(found["difference"])]}

    def _further(self, mine: Answer, theirs: Answer) -> dict[str, Array]:
        """The columns of rows that weren't kept whole."""
        assert isinstance(mine, _TextAnswer)
        assert isinstance(theirs, _TextAnswer)
        if mine.kept is None or theirs.kept is None:
            return {}
        count = min(len(mine.kept.scores), len(theirs.kept.scores))
        return likeliest_rows(mine.kept.some(count), theirs.kept.some(count), self._tolerance)

    # -- what is asked ----------------------------------------------------------------------------

    def _view(self, planned: PlannedCell, examples: int) -> View:
        key = planned.cell.model.name, examples
        if key not in self._views:
            some = self._examples[:examples]
            self._views[key] = (
                view_of(planned, some, self._span) if some else drawn_view(planned, self._seed)
            )
        return self._views[key]

    def _part(self, planned: PlannedCell) -> View:
        """The first examples, which the further passes see; of a long first one its beginning,
        which decides nothing."""
        view = self._view(planned, self._part_examples)
        counts = np.cumsum([int((window.targets >= 0).sum()) for window in view.every])
        if counts[-1] <= 2 * FLOOR_TOKENS:
            return view
        windows = int(np.searchsorted(counts, FLOOR_TOKENS)) + 1
        rows = int(counts[windows - 1])
        some, clusters = view.every[:windows], view.clusters[:rows]
        return replace(view, every=some, clusters=clusters, columns=None)

    def _enough(self, planned: PlannedCell) -> int:
        """So many of the first examples have `FLOOR_TOKENS` tokens or more."""
        for count in range(1, len(self._examples)):
            if self._view(planned, count).rows >= FLOOR_TOKENS:
                return count
        return len(self._examples)

    def _form(self, planned: PlannedCell) -> Form:
        view = self.view(planned)
        return form_of(planned, view.decoder, view.every)

    def _predictions(
        self, planned: PlannedCell, view: View, store: _Store, condition: Condition
    ) -> dict[str, Array]:
        """The columns of the task, without those that no metric is made of."""
        prompts = [one for one in self._examples if isinstance(one, Prompt)]
        if prompts and condition in ("plain", "again", "threads"):
            some = prompts if condition == "plain" else prompts[: self._part_examples]
            columns = answer_columns(planned, some, self._launcher, ())
        elif view.columns is not None and store.scores is not None:
            columns = view.columns(store.scores)
        else:
            return {}
        found = {n: v for n, v in columns.items() if n not in self._task.bulky}
        if self._groups:
            found["group"] = self._group_of[columns["document"]]
        return found

    def _examined(self, planned: PlannedCell, view: View) -> Examined:
        data = planned.model.dataset
        return Examined(
            dataset="" if data is None else data.name,
            dataset_sha256="" if data is None else data.sha256,
            inputs_sha256=windows_digest(view.every),
            examples=view.rows,
            clusters=int(view.clusters.max()) + 1,
            unit="token",
            groups=self._groups,
            notes=tuple(self._notes(planned, view)),
        )

    def _notes(self, planned: PlannedCell, view: View) -> Iterator[str]:
        if planned.model.dataset is not None:
            yield from planned.model.dataset.notes
        elif tokenizer_of(planned.model) is not None:
            yield (
                "it has no data set: the tokens are those of Genesis 1, and decisions are not "
                "compared"
            )
        else:
            yield (
                "it has no data set and no tokenizer: the token ids are random, and decisions "
                "are not compared"
            )
        size = view.decoder.vocabulary
        whole = _whole_rows(view.rows, size)
        if whole < view.rows:
            yield (
                f"the logits of {whole:,} of {view.rows:,} tokens were compared completely; for "
                f"the others the {min(LIKELIEST, size):,} ids that the reference finds likeliest, "
                "the rest with bounds"
            )


class _Store:
    """What stays of a party's logits, row by row."""

    def __init__(self, view: View, ids: Array | None) -> None:
        self._view = view
        self._given = ids
        self.whole: Array = np.zeros((0, 0), np.float32)
        self.ids: Array = np.zeros((0, 0), np.int32)
        self.kept: Likeliest | None = None
        self.scores: TokenScores | None = None  #: None where the logits are no distributions
        self._begun = False

    def put(self, logits: Array, targets: Array, at: Array) -> None:
        """Keep the rows ``at`` of one call's logits, [batch, tokens, vocabulary]."""
        if logits.ndim != 3 or logits.shape[:2] != targets.shape:
            raise AccuracyFailed(
                f"its logits are {list(logits.shape)} for {list(targets.shape)} tokens: examining "
                "a text needs the logits of every token, [batch, tokens, vocabulary]."
            )
        if not self._begun:
            self._begin(logits.shape[2])
        self._score(logits, targets, at)
        picked = logits[targets >= 0].astype(np.float32, copy=False)
        inside = at < len(self.whole)
        self.whole[at[inside]] = picked[inside]
        if self.kept is not None and not inside.all():
            self._keep(self.kept, picked[~inside], at[~inside] - len(self.whole), at[~inside])

    def _begin(self, vocabulary: int) -> None:
        rows = self._view.rows
        whole = _whole_rows(rows, vocabulary)
        # A file of no name: it is gone with the array.
        self.whole = np.memmap(
            tempfile.TemporaryFile(prefix="bench-logits-"),  # noqa: SIM115
            np.float32,
            "w+",
            shape=(max(1, whole), vocabulary),
        )[:whole]
        if whole < rows:
            kept = min(LIKELIEST, vocabulary)
            self.ids = np.zeros((rows - whole, kept), np.int32)
            self.kept = Likeliest(
                np.zeros((rows - whole, kept), np.float32),
                np.zeros((rows - whole, 5)),
                np.zeros(rows - whole, np.int64),
            )
        top = min(TOP, vocabulary)
        self.scores = TokenScores(
            np.zeros(rows, np.float32),
            np.zeros((rows, top), np.int32),
            np.zeros((rows, top), np.float32),
            np.zeros(rows, np.float32),
        )
        self._begun = True

    def _score(self, logits: Array, targets: Array, at: Array) -> None:
        if self.scores is None:
            return
        try:
            found = likelihoods(logits, targets, TOP)
        except AccuracyFailed:  # NaN: the rows tell how many
            self.scores = None
            return
        if not np.isfinite(found.right).all():
            self.scores = None
            return
        for name in ("right", "ids", "best", "tail"):
            getattr(self.scores, name)[at] = getattr(found, name)

    def _keep(self, kept: Likeliest, picked: Array, places: Array, at: Array) -> None:
        ids = likeliest_ids(picked, LIKELIEST) if self._given is None else self._given[places]
        self.ids[places] = ids
        found = kept_of(picked, ids, self._view.right[at])
        for name in ("scores", "told", "first"):
            getattr(kept, name)[places] = getattr(found, name)


def _asked(
    worker: Worker, view: View, form: Form, place: int, shift: int
) -> Iterator[tuple[Array, Array, Array]]:
    """The logits of each call, its targets, and the rows that these are, with the windows rolled
    ``shift`` places further."""
    counts = [int((window.targets >= 0).sum()) for window in view.every]
    ends = np.cumsum(counts)
    order = np.roll(np.arange(len(counts)), shift)
    rows = [np.arange(ends[window] - counts[window], ends[window]) for window in order]
    every = [view.every[window] for window in order]
    for number, (feeds, targets) in enumerate(queries(view.decoder, every, form)):
        some = rows[number * form.rows : (number + 1) * form.rows]
        yield worker.evaluate(feeds)[place], targets, np.concatenate(some)


def _rows_of_whole(
    mine: Array, theirs: Array, right: Array, tolerance: Tolerance
) -> dict[str, Array]:
    """The columns of rows that were kept whole; none where no row was."""
    step = max(1, _AT_ONCE // max(1, mine.shape[1]))
    parts = []
    for start in range(0, len(mine), step):
        a, b = (np.asarray(each[start : start + step]) for each in (mine, theirs))
        found = output_rows([a], [b], tolerance)
        parts.append(found | distribution_rows(a, b, right[start : start + step]))
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _whole_rows(rows: int, vocabulary: int) -> int:
    return min(rows, WHOLE_BYTES // (4 * max(1, vocabulary)))


def _common_span(parties: Sequence[PlannedCell]) -> tuple[int, int]:
    """The windows of whoever sees least at once: all see the same."""
    spans = [
        window_span(planned, planned.model.decoder)
        for planned in parties
        if planned.model.decoder is not None
    ]
    size = min(size for size, _ in spans)
    return size, min(size, *(stride for _, stride in spans))


def _view_of(answer: Answer) -> View:
    assert isinstance(answer, _TextAnswer)
    assert answer.view is not None
    return answer.view


def _unlike(mine: View, theirs: View) -> str:
    sizes = mine.decoder.vocabulary, theirs.decoder.vocabulary
    if sizes[0] != sizes[1]:
        return _other_sizes(*sizes)
    return (
        "Its tokenizer isn't the reference's, so their distributions can't be compared; their "
        "bits per byte can."
    )


def _other_sizes(mine: int, theirs: int) -> str:
    return (
        f"Its vocabulary has {mine:,} tokens and the reference's {theirs:,}, so their "
        "distributions can't be compared; their bits per byte can."
    )
