"""Records as they are held in memory by the hundred thousand: what is equal is there once, and the
invocations, half of a record, are packed until somebody looks at them."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Iterator, Sequence
from typing import overload

from bench.cell import Cell, Frozen, ModelIdentity
from bench.record.result import Invocation, Record


class Holder:
    """Makes values that were read small; all others of a run are made small by the same."""

    def __init__(self, cells: Collection[Cell] = ()) -> None:
        self._sets: dict[frozenset[str], set[str]] = {}
        self._models: dict[ModelIdentity, ModelIdentity] = {}
        self._cells: dict[str, Cell] = {}
        for cell in cells:
            self._one_of_each(cell)
            self._cells[cell.id] = cell

    def whole(self, record: Record) -> Record:
        """The same record."""
        cell = self._cells.get(record.cell_id)
        if cell is not None and cell == record.cell:
            record.__dict__["cell"] = cell
        self._one_of_each(record)
        return record

    def packed(self, record: Record) -> Record:
        """The same, with `PackedInvocations`: to be read, and not to be written again."""
        taken = record.invocations
        if any(one.loadgen is not None for one in taken):  # more than numbers and texts, and few
            return self.whole(record)
        record.__dict__["invocations"] = ()  # they are made smaller than this could
        record = self.whole(record)
        record.__dict__["invocations"] = PackedInvocations(taken)
        return record

    def _one_of_each(self, value: object) -> None:
        """Every value keeps a set of the names of its fields that were given, which takes as much
        memory as all else in it; there are few different ones."""
        if isinstance(value, Frozen):
            given = value.__pydantic_fields_set__
            shared = self._sets.setdefault(frozenset(given), given)
            object.__setattr__(value, "__pydantic_fields_set__", shared)
            for name, part in value.__dict__.items():
                if isinstance(part, ModelIdentity):
                    value.__dict__[name] = part = self._models.setdefault(part, part)
                if isinstance(part, Frozen | tuple):
                    self._one_of_each(part)
        elif isinstance(value, tuple):
            for part in value:
                self._one_of_each(part)


class PackedInvocations(Sequence[Invocation]):
    """The invocations of a record in a twentieth of their memory, made again at each look."""

    __slots__ = ("_count", "_values")

    def __init__(self, invocations: Sequence[Invocation]) -> None:
        self._count = len(invocations)
        # Never leaves this process: plain numbers and texts in the form that Python reads fastest.
        self._values = marshal.dumps([tuple(one.__dict__.values()) for one in invocations])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Invocation]:
        names = Invocation.model_fields
        for values in marshal.loads(self._values):
            yield Invocation.model_construct(**dict(zip(names, values, strict=True)))

    @overload
    def __getitem__(self, place: int) -> Invocation: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Invocation]: ...
    def __getitem__(self, place: int | slice) -> Invocation | Sequence[Invocation]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple | PackedInvocations):
            return tuple(self) == tuple(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))
