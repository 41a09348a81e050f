"""A deal in Python: which model, precision and target is worth what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, get_args

from bench.api import given
from bench.api.html import notebook_html
from bench.api.tables import flat_frame
from bench.api.wording import all_in_python, says_python
from bench.judge import deal as judged
from bench.judge.deal import Cost
from bench.judge.joined import join, weigh
from bench.present.deal import (
    answer,
    deal_rows,
    deal_text,
    front_table,
    sentences,
)
from bench.store.run import StoredRun

if TYPE_CHECKING:
    import pandas

_WIDTH = 80


@dataclass(frozen=True, repr=False)
class Deal:
    """The Pareto front of accuracy against a cost, and what it means.

    ``print(deal)`` prints what ``bench show --deal`` does; a notebook shows it as HTML.
    """

    _deal: judged.Deal
    warnings: Sequence[str] = ()  #: what could not be compared

    def __post_init__(self) -> None:
        if not isinstance(self._deal, judged.Deal):
            raise TypeError("bench.Run.deal() makes a bench.Deal; nothing else does")

    @property
    def answer(self) -> str:
        """The best of all, and the best of what is as accurate as the most accurate."""
        return answer(self._deal)

    @property
    def sentences(self) -> list[str]:
        """The answer, then what is on offer instead of each original on each target."""
        return sentences(self._deal)

    @property
    def rows(self) -> list[dict[str, object]]:
        """A dictionary per model, variant and target, the cheapest first."""
        found = deal_rows(self._deal)["points"]
        assert isinstance(found, list)
        return found

    @property
    @says_python
    def table(self) -> pandas.DataFrame:
        """``rows`` as a table: ``cost``, ``accuracy``, and ``standing``, which is ``front`` where
        nothing else is as cheap and as accurate, ``dominated``, or ``open``."""
        return flat_frame(self.rows)

    def __repr__(self) -> str:
        return f"<bench.Deal: {self.answer}>"

    def __str__(self) -> str:
        return deal_text(self._deal, _WIDTH).plain.rstrip("\n")

    def _repr_html_(self) -> str:
        title = f"Accuracy against {self._deal.cost}"
        return notebook_html(title, [front_table(self._deal)], self.sentences, self.warnings)


def weigh_run(run: StoredRun, cost: str, loss: float | str | None) -> Deal:
    """The deal of one run. Raises `SpecError` where nothing was both measured and scored."""
    chosen = cast(Cost, given.one_of("by", cost, get_args(Cost)))
    share = None if loss is None else given.a_share("loss", loss)
    joined = join([run])
    deal, uncompared = weigh(joined, chosen, share)
    return Deal(deal, tuple(all_in_python([*run.remarks, *joined.notes, *uncompared])))
