"""Which rounds of a generation a cell takes part in, where it doesn't take part in all."""

from __future__ import annotations

from functools import lru_cache


def takes_part(number: int, wanted: int, total: int) -> bool:
    """Whether a cell that wants so many of ``total`` rounds takes part in this one.

    Rounds are handed out in bit-reversed order (van der Corput 1935): those of any cell are spread
    over the generation, so that what drifts hits it as it hits the others, and those of a cell with
    fewer are among those of every cell with more, so that each two have as many in common as they
    can.
    """
    return _places(total)[number] < wanted


@lru_cache
def _places(total: int) -> tuple[int, ...]:
    """For each round, when it is handed out."""
    bits = max(1, (total - 1).bit_length())
    order = sorted(range(total), key=lambda number: f"{number:0{bits}b}"[::-1])
    places = [0] * total
    for place, number in enumerate(order):
        places[number] = place
    return tuple(places)
