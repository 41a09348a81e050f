"""What there is to choose from: threads, streams, batch, variant, and a backend's own options.

A configuration is told by its departures from the default, which is what `bench run` measures where
nobody says anything; the fewer choices these are, the simpler it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bench.capabilities import Tunable
from bench.errors import SpecError
from bench.variants import DEFAULT

#: So many configurations are raced at most, the simplest. Our choice: at three processes each and
#: a fifth of a second a process, the first look at them takes a minute.
MOST = 96
#: Streams where the number of cores says nothing, on an accelerator.
STREAMS = (1, 2, 4)
#: Samples a query that are tried for throughput.
BATCHES = (1, 4, 8, 16, 32, 64)
_STREAMS = "streams"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Configuration:
    """One way to run the model. ``options`` are those behind ``?`` that the target doesn't have
    already."""

    threads: int
    batch: int
    streams: int = 1
    variant: str = DEFAULT
    options: tuple[tuple[str, str], ...] = ()

    @property
    def extra(self) -> dict[str, str]:
        """All that has to stand behind the ``?``."""
        return {**dict(self.options), **({_STREAMS: str(self.streams)} if self.streams > 1 else {})}

    def departures(self, default: Configuration) -> tuple[str, ...]:
        """In what it differs from the default, each in words that `configuration` reads again."""
        named = (
            ("threads", self.threads, default.threads),
            ("streams", self.streams, default.streams),
            ("batch", self.batch, default.batch),
            ("variant", self.variant, default.variant),
        )
        differs = [f"{name}={mine}" for name, mine, its in named if mine != its]
        return (*differs, *(f"{key}={value}" for key, value in self.options))

    def complexity(self, default: Configuration) -> tuple[int, int]:
        """By which it comes after simpler ones: how many things were chosen, then how many of them
        are options. Streams take their cores from the threads, so other streams with other threads
        are one choice; and what queries are computed at once on which cores changes more than an
        option does, so it is tried first where there is little time."""
        both = self.threads != default.threads and self.streams != default.streams
        return len(self.departures(default)) - both, len(self.options)


def configuration(text: str, default: Configuration) -> Configuration:
    """``threads=2,batch=8,spinning=1``: the default with these departures. Raises `SpecError`."""
    found, options = default, dict(default.options)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not name or not value:
            raise SpecError(f"{part!r} is not of the form name=value, for example threads=2.")
        if name in ("threads", _STREAMS, "batch"):
            if not value.isdecimal() or int(value) < 1:
                raise SpecError(f"{part!r}: give a whole number above 0.")
            changed: dict[str, Any] = {name: int(value)}
            found = replace(found, **changed)
        elif name == "variant":
            found = replace(found, variant=value)
        else:
            options[name] = value
    return replace(found, options=tuple(sorted(options.items())))


@dataclass(frozen=True)
class Space:
    """What may be tried: the default, and other values of each thing."""

    default: Configuration
    cores: int = 0  #: of the CPU that computes; 0 where an accelerator does
    threads: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    variants: tuple[str, ...] = ()
    tunables: Mapping[str, Tunable] = field(default_factory=dict)

    def configurations(self) -> list[Configuration]:
        """All of them, the simplest first; the default is the very first."""
        default = self.default
        shapes = itertools.product(
            _from(default.threads, self.threads),
            _from(default.batch, self.batches),
            _from(default.streams, self.streams),
            _from(default.variant, self.variants),
        )
        found = [
            Configuration(threads, batch, streams, variant, options)
            for threads, batch, streams, variant in shapes
            if self._fits(threads, streams)
            for options in self._options(threads)
        ]
        found.sort(key=lambda one: one.complexity(default))
        return found

    def _fits(self, threads: int, streams: int) -> bool:
        """Streams that take turns on the same cores gain nothing that threads don't. But the
        default is measured as it is: a target that names its streams may ask for more."""
        if (threads, streams) == (self.default.threads, self.default.streams):
            return True
        return not self.cores or threads * streams <= self.cores or streams == 1

    def _options(self, threads: int) -> list[tuple[tuple[str, str], ...]]:
        """The departures that options can make; those of a pool need one."""
        given = dict(self.default.options)
        useful = {
            name: one.values
            for name, one in self.tunables.items()
            if one.values and name not in given and (threads > 1 or not one.pooled)
        }
        choices = itertools.product(*useful.values())
        return [
            tuple(
                sorted(
                    (name, value)
                    for (name, values), value in zip(useful.items(), chosen, strict=True)
                    if value != values[0]
                )
            )
            for chosen in choices
        ]


def _from(default: _T, others: Sequence[_T]) -> list[_T]:
    """The default first, then the others, each once."""
    return list(dict.fromkeys([default, *others]))


def counts_up_to(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and ``most`` itself."""
    powers = itertools.takewhile(lambda n: n < most, (2**k for k in itertools.count()))
    return (*powers, most)
