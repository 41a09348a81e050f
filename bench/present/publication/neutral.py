"""A copy of a run without what names its host, its users or their folders.

What stays is what was measured and on what: hardware, versions, models by their names, and whatever
name the owner gave the machine on purpose. What goes is a command line, where files lay, addresses,
and the host's own name, wherever it stands: every text of every line is gone through, since a path
may be in the message of a failure as well as in a header.
"""

from __future__ import annotations

import getpass
import json
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cell import Frozen
from bench.errors import SpecError
from bench.record.header import RunHeader
from bench.scenarios import SCENARIOS
from bench.store import columnar
from bench.store.bundle.manifest import MACHINE_FACTS
from bench.store.columnar import Unreadable
from bench.store.machines import given_name
from bench.validation import first_problem

#: What stands in the place of a command line.
COMMAND = "left out"
PATH, HOST, USER, ADDRESS = "<path>", "<host>", "<user>", "<address>"
#: Texts that are no place where names hide, by the key they stand under: ids, digests, names of
#: files within the run, versions (which may look like addresses), and what defines a cell.
_PLAIN_KEYS = {
    *("cell_id", "cell", "cells", "sha256", "dataset_sha256", "predictions", "outputs"),
    *("reference_outputs", "runtime_version", "bench_version", "packages", "environments"),
    *("created_at", "finished_at", "began_at", "resumed_at", "retried", "files", "model"),
    *("driver", "version", "python", "numpy", "targets", "target"),
}
#: Names of nodes, which begin with a slash as paths do.
_NODE_KEYS = {"off_device", "nodes", "node", "tensor"}
#: What has texts for names.
_FREE_KEYS = {"details", "throttled", "invalid"}
#: Where people's files lie (Filesystem Hierarchy Standard 3.0, section 3; macOS; clusters).
_ROOTS = (
    r"bin|boot|data|datasets|dev|etc|export|home|lib|lib64|media|mnt|net|nfs|nix|opt|private|proc"
    r"|project|projects|root|run|sbin|scratch|shared|srv|sys|tmp|Users|usr|var|Volumes|work"
    r"|workspace|workspaces"
)
_QUOTED = re.compile(r"""(['"`])(?:file://)?(?:~|[A-Za-z]:)?[/\\][^'"`]*\1""")
_UNDER_ROOT = re.compile(rf"(?:file://)?/(?:{_ROOTS})(?:/[^\s'\"`<>|;,()\[\]]*)?(?![\w-])")
_HOME = re.compile(r"(?<![\w/])~[\w.-]*/[^\s'\"`<>|;,()]+")
_ANY_PATH = re.compile(r"(?<![\w.<>:/-])/(?!/)[^\s'\"`<>|;,()\[\]]+")
_OF_WINDOWS = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\[^\s'\"`<>|;,()]+|\\\\[\w.$-]+\\[^\s'\"`<>|;,]+")
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"`<>]+")
#: Not a target in an environment (`torch@fast:cpu`), and not a scenario (`decode@64`).
_AT_HOST = re.compile(
    r"\b(?:[\w.+-]+@(?:[A-Za-z][\w-]*\.)+[A-Za-z]{2,}|git@[\w.-]+)(?::[^\s'\"`<>,;]+)?"
)
_IPV4 = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])"
)
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{0,4}(?![\w:])")
_ASSIGNED = re.compile(r"\b([A-Z][A-Z0-9_]{2,})=\S+")
_USERS_FOLDER = re.compile(r"(?:/home/|/Users/|\\Users\\)([^/\\\s'\":;,]+)")
#: Names of users that say nothing, and are words of their own.
_NOBODY = {"root", "user", "users", "admin", "ubuntu", "debian", "runner", "nobody", "test"}
#: Hosts that are called like what is measured, or like no host of their own.
_ANYBODYS = {
    *(row.name for row in SCENARIOS.built_in),
    "localhost",
    "bench",
    "cpu",
    "gpu",
    "cuda",
    "npu",
    "host",
    "node",
}
_SHORTEST_NAME = 3
#: A word that means something to bench (`max-time`), not a sentence that names could be in.
_TERM = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_QUOTED_TERM = re.compile(rf'"({_TERM.pattern})"')


@dataclass(frozen=True)
class Neutral:
    """Takes names out of texts: of hosts and users that are known, of files that are known by
    where they lay, and of what looks like a place."""

    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  #: paths of models; each becomes its last part

    @classmethod
    def of(cls, header: RunHeader) -> Neutral:
        """What is to be kept out of a run's copy: its own host, and whoever packs it."""
        own = {header.machine_name} - {given_name(header)}
        said = json.dumps(header.model_dump(mode="json"), ensure_ascii=False)
        return cls.knowing(own, said, {*header.models, *header.suite.models})

    @classmethod
    def knowing(cls, hosts: Iterable[str], said: str, models: Iterable[str]) -> Neutral:
        """The same of further hosts, of users whose folders a text names, and of models' files."""
        all_hosts = {platform.node(), *hosts}
        users = {_me(), Path.home().name, *_USERS_FOLDER.findall(said)}
        return cls(
            hosts=_longest_first(
                {*all_hosts, *(name.partition(".")[0] for name in all_hosts)} - _ANYBODYS
            ),
            users=_longest_first(users - _NOBODY),
            files=_longest_first(name for name in models if "/" in name or "\\" in name),
        )

    @property
    def known(self) -> tuple[str, ...]:
        """Whatever must not be in a file, wherever it stands."""
        folders = {str(Path.home()), str(Path.cwd()), *(_folder(name) for name in self.files)}
        return (*self.hosts, *self.users, *_longest_first(f for f in folders if "/" in f[1:]))

    def text(self, text: str) -> str:
        """The text without names and places."""
        return self._places(text, (*_PLACES, _ANY_PATH))

    def of_nodes(self, text: str) -> str:
        """The same of a text with names of nodes, which look like paths from an unusual root."""
        return self._places(text, _PLACES)

    def value(self, value: Any, key: str = "") -> Any:
        """JSON with every text in it cleaned; ``key`` is what it stands under."""
        if key in _PLAIN_KEYS:
            return value
        if isinstance(value, str):
            return self.of_nodes(value) if key in _NODE_KEYS else self.text(value)
        if isinstance(value, list):
            return [self.value(item, key) for item in value]
        if not isinstance(value, dict):
            return value
        if key in _FREE_KEYS:
            return {self.text(name): self.value(item) for name, item in value.items()}
        return {n: self.value(v, key if key in _NODE_KEYS else n) for n, v in value.items()}

    def facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        """What is known of the machine itself."""
        found: dict[str, Any] = self.value({k: v for k, v in facts.items() if k in MACHINE_FACTS})
        return found

    def header(self, header: RunHeader) -> RunHeader:
        """`run.json` without names."""
        suite = self.value(header.suite.model_dump(mode="json"))
        models = [self.model(name) for name in header.suite.models]
        told = header.model_dump(mode="json", exclude_unset=True) | {
            "command": COMMAND,
            "suite": {k: v for k, v in suite.items() if k in header.suite.model_fields_set}
            | {"models": models, "targets": list(header.suite.targets)}
            | {k: None for k in _OF_THE_WALL if k in header.suite.model_fields_set},
            "models": [self.model(name) for name in header.models],
            "facts": self.facts(header.facts),
        }
        if "machine_name" in told:
            told["machine_name"] = given_name(header)
        return RunHeader.model_validate(told)

    def model(self, name: str) -> str:
        """A model by its own name, without the folders that it lay in."""
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1] if name in self.files else name

    def refuse_places_in(self, header: RunHeader) -> None:
        """Raise `SpecError` where what defines a cell names a place: its id follows from that, so
        it can be neither left out nor changed."""
        targets = {*header.targets, *header.suite.targets}
        for cell in header.cells:
            for text in (*targets, cell.target, cell.model.name):
                if self.of_nodes(text) != text:
                    raise SpecError(
                        f"{text}: this names a host or a place on the disk, and is part of what "
                        "was measured, so it can't be left out. Pack it as it is with "
                        "--with-names, or measure under another name."
                    )

    def _places(self, text: str, patterns: Iterable[re.Pattern[str]]) -> str:
        if _TERM.fullmatch(text) and text not in (*self.hosts, *self.users):
            return text
        for file in self.files:
            text = text.replace(file, self.model(file))
        text = _URL.sub(ADDRESS, text)
        text = _QUOTED.sub(rf"\1{PATH}\1", text)
        for pattern in patterns:
            text = pattern.sub(_path, text)
        text = _ASSIGNED.sub(r"\1=<value>", text)
        for pattern in (_AT_HOST, _IPV4, _IPV6):
            text = pattern.sub(ADDRESS, text)
        for names, stands in ((self.hosts, HOST), (self.users, USER)):
            for name in names:
                text = _word(name).sub(stands, text)
        return text


_PLACES = (_UNDER_ROOT, _HOME, _OF_WINDOWS)
#: Of the suite: a meter's command and file.
_OF_THE_WALL = ("wall_command", "wall_csv")


def rewrite_lines(path: Path, kind: type[Frozen], clean: Callable[[Any], Any]) -> None:
    """Each line of a file with what ``clean`` makes of its JSON."""
    if not path.is_file():
        return
    lines = []
    for line in path.read_bytes().splitlines():
        value = kind.model_validate_json(line)
        cleaned = clean(value.model_dump(mode="json", exclude_unset=True))
        try:
            lines.append(kind.model_validate(cleaned).model_dump_json(exclude_unset=True))
        except ValidationError as error:
            problem = first_problem(error, kind.model_fields)
            raise SpecError(
                f"{path.name}: without names it could not be read: {problem} Pack it as it is with "
                "--with-names."
            ) from error
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def strip_tables(folder: Path, neutral: Neutral | None) -> None:
    """Parquet files below a folder with their columns alone: what else is in such a file (notes of
    the program that wrote it, an index) is nobody's business. Raises `SpecError` where a column of
    texts names places."""
    for path in sorted(folder.rglob("*.parquet")):
        try:
            if neutral is not None:
                _refuse_places(path, neutral)
            path.write_bytes(columnar.repacked(path))
        except Unreadable as error:
            where = f"{path.parent.name}/{path.name}"
            raise SpecError(f"{where}: it can't be read: {error}.") from error


def _refuse_places(path: Path, neutral: Neutral) -> None:
    for name, column in columnar.read_texts(path).items():
        if any(neutral.text(text) != text for text in column.names):
            raise SpecError(
                f"{path.parent.name}/{path.name}: its texts ({name}) name hosts or places, and "
                "figures follow from them. Pack it as it is with --with-names."
            )


def settled(mine: Any, derived: Any) -> Any:
    """JSON of a record with each text as it follows from the cleaned raw data; its numbers stay."""
    if isinstance(mine, dict) and isinstance(derived, dict):
        return {key: settled(item, derived.get(key, item)) for key, item in mine.items()}
    if isinstance(mine, list) and isinstance(derived, list) and len(mine) == len(derived):
        return [settled(a, b) for a, b in zip(mine, derived, strict=True)]
    return derived if isinstance(mine, str) and isinstance(derived, str) else mine


def refuse_left(folder: Path, neutral: Neutral) -> None:
    """Raise `SpecError` where a name is still in a file: no bundle is better than one with it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".parquet":
            text = path.read_bytes().decode("utf-8", errors="replace")
            # What bench itself calls something may have a user's name in it: `max-time`.
            text = _QUOTED_TERM.sub(lambda t: t[0] if t[1] in neutral.known else "", text)
            left = next((name for name in neutral.known if _word(name).search(text)), None)
            if left is not None:
                raise SpecError(
                    f"{path.relative_to(folder)}: {left!r} is part of what figures follow from, so "
                    "it can't be left out. Pack it as it is with --with-names."
                )


def _path(found: re.Match[str]) -> str:
    """What stands in a path's place: the marks that end a sentence are none of it."""
    text = found.group()
    return PATH + text[len(text.rstrip(".:!?")) :]


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", re.IGNORECASE)


def _longest_first(names: Iterable[str]) -> tuple[str, ...]:
    known = {name for name in names if len(name) >= _SHORTEST_NAME}
    return tuple(sorted(known, key=lambda name: (-len(name), name)))


def _folder(name: str) -> str:
    return re.split(r"[/\\][^/\\]*$", name.rstrip("/\\"))[0]


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        return ""
