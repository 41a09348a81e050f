"""The arrays of a query, in memory only while the cells that share them are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.arrays import Array
from bench.cards.query import Query
from bench.errors import ModelChanged, OutOfMemory


class Feeds:
    """What ``make`` gives with its digest, made again where it is wanted: the inputs of a whole
    plan may be larger than memory, and each of them is needed in one group.

    ``sha256`` is the digest that the cells were planned with.
    """

    def __init__(self, make: Callable[[], tuple[Query, str]], sha256: str) -> None:
        self._make = make
        self._sha256 = sha256
        self._arrays: dict[str, Array] | None = None

    @classmethod
    def given(cls, arrays: dict[str, Array]) -> Feeds:
        """Arrays that can't be made again, and are held as long as this is."""
        found = cls(lambda: (Query(arrays), ""), "")
        found._arrays = arrays
        return found

    @property
    def arrays(self) -> dict[str, Array]:
        """Those that are held, else new ones of the same values.

        Raises `OutOfMemory` where there is no room for them now, `ModelChanged` where they have
        other values than were planned.
        """
        return self._arrays if self._arrays is not None else self._made()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the arrays in memory meanwhile; what is held already stays with who holds it."""
        if self._arrays is not None:
            yield
            return
        self._arrays = self._made()
        try:
            yield
        finally:
            self._arrays = None

    def _made(self) -> dict[str, Array]:
        try:
            query, sha256 = self._make()
        except MemoryError as error:
            raise OutOfMemory(f"its inputs don't fit in memory: {error}.") from error
        if query.refused is not None:
            raise query.refused
        if sha256 != self._sha256:
            raise ModelChanged(
                "its inputs changed since the run was planned. Run again without changing the "
                "model's data."
            )
        return query.feeds
