"""A field of made-up configurations, for the race of `bench tune`: what a process costs is drawn as
processes, blocks and drift of real machines spread."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

#: Blocks of an invocation.
BLOCKS = 8


@dataclass
class Clock:
    """Time goes on only where something is measured."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MadeUp:
    """Configurations of known cost. ``spread`` is between processes of each, ``block`` between the
    blocks of one, ``drift`` what the machine does from one generation to the next (a random walk).
    """

    truth: Mapping[str, float]
    rng: np.random.Generator
    spread: Mapping[str, float] | float = 0.02
    block: float = 0.02
    drift: float = 0.01
    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.2  #: of a process
    fails: Mapping[str, int] = field(default_factory=dict)  #: at its so-many-th process
    interrupted: tuple[int, ...] = ()  #: before these generations
    doubted: frozenset[str] = frozenset()
    measured: dict[str, dict[int, float]] = field(init=False)  #: by generation
    gone: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    generations: list[list[str]] = field(default_factory=list)
    machine: float = 0.0

    def __post_init__(self) -> None:
        self.measured = {name: {} for name in self.truth}

    def costs(self) -> Mapping[str, Mapping[int, float]]:
        return {n: v for n, v in self.measured.items() if n not in self.gone}

    def doubtful(self) -> Collection[str]:
        return self.doubted

    def leave_out(self, names: Sequence[str]) -> None:
        self.left_out += names
        self.gone |= set(names)

    def measure(self, names: Sequence[str]) -> None:
        assert names
        assert not set(names) & self.gone, "who is gone is not measured"
        self.generations.append(list(names))
        if len(self.generations) in self.interrupted:
            raise KeyboardInterrupt
        self.machine += self.rng.normal(0, self.drift)
        for name in names:
            self.clock.now += self.seconds
            if len(self.measured[name]) + 1 == self.fails.get(name):
                self.gone.add(name)
                continue
            spread = self.spread if isinstance(self.spread, float) else self.spread[name]
            error = self.rng.normal(0, spread) + self.rng.normal(0, self.block / BLOCKS**0.5)
            cost = self.truth[name] * float(np.exp(self.machine + error))
            self.measured[name][len(self.generations)] = cost

    @property
    def processes(self) -> int:
        return sum(map(len, self.generations))
