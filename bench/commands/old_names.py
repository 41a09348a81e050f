"""Names that commands had before: they work until `GONE_IN`, and say what is new.

Remove this file then, and `bench.commands.cli.Front` with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.defaults import GOES_AWAY


@dataclass(frozen=True)
class Old:
    """What replaces a name."""

    words: tuple[str, ...]
    flags: Mapping[str, str] = field(default_factory=dict)  #: those with another name now
    shown: str = ""  #: instead of the words, where a flag is what matters


#: An old name -> what replaces it; "NAME WORD" is NAME with that word among its arguments.
OLD: dict[str, Old] = {
    "deal": Old(("show", "--deal")),
    "history": Old(("show", "--history")),
    "baseline": Old(
        ("gate",), {"-o": "--save", "--output": "--save"}, shown="gate RUN --save FILE"
    ),
    "check-results": Old(("publish", "--check")),
    "list models": Old(("model", "list")),
    "list backends": Old(("doctor", "--backends")),
    "list targets": Old(("doctor", "--targets")),
    "list": Old(("model", "list", "--with-backends"), shown="model list"),
    "init-card": Old(("model", "card")),
    "export": Old(("model", "export")),
    "distill": Old(("model", "distill")),
    "speculate": Old(("model", "speculate")),
    "import": Old(("results", "import")),
    "export-results": Old(("results", "export")),
    "merge": Old(("results", "merge")),
    "pack": Old(("results", "pack")),
    "attach-energy": Old(("results", "attach-energy")),
    "mlperf": Old(("results", "mlperf")),
    "bisect": Old(("debug", "bisect")),
    "lineage": Old(("debug", "lineage")),
    "selftest": Old(("debug", "selftest")),
    "schema": Old(("debug", "schema")),
    "scaffold": Old(("debug", "scaffold")),
    "completion": Old(("debug", "completion")),
}


@dataclass(frozen=True)
class Renamed:
    """A command line in today's words."""

    words: list[str]
    advice: str


def renamed(args: Sequence[str]) -> Renamed | None:
    """The command line of an old name in today's words; None where the name is no old one."""
    name, rest = args[0], list(args[1:])
    told = name
    for word in rest:
        if f"{name} {word}" in OLD:
            told = f"{name} {word}"
            rest.remove(word)
            break
    old = OLD.get(told)
    if old is None:
        return None
    now = old.shown or " ".join(old.words)
    advice = f"bench: use `bench {now}`. `bench {told}` {GOES_AWAY}."
    return Renamed([*old.words, *_with_flags(rest, old.flags)], advice)


def _with_flags(args: Sequence[str], flags: Mapping[str, str]) -> Iterator[str]:
    """The arguments with flags by their new names: ``-o X``, ``-oX`` and ``--output=X``."""
    end = args.index("--") if "--" in args else len(args)
    for place, word in enumerate(args):
        flag = next((old for old in flags if word.startswith(old)), None) if place < end else None
        if flag is None:
            yield word
            continue
        value = word[len(flag) :].removeprefix("=")
        yield flags[flag]
        if value or word.endswith("="):
            yield value
