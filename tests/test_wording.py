"""What the program says is plain English: turns of phrase that read like a translation are refused.

Read are the texts of `bench` and `backends`: every string, the docstrings of commands (click shows
them as help), and the templates of pages. Other docstrings and comments aren't read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.judge.certify.check import EARLIER_WORDS

ROOT = Path(__file__).parent.parent
#: What a stored certificate may say, and must be understood for: not written any more.
EARLIER = {before for before, _ in EARLIER_WORDS}
UNITS = "samples?|tokens?|queries|joules?|J|bits|bytes|nats|rows?|windows|files?|images?|errors?"
COMPARED = "longer|more|larger|smaller|better|worse|less|fewer|higher|lower|slower|faster|other"
#: A phrase, and what to write in its place.
REFUSED = {
    r"\bsurely\b": "say it plainly, or `with 95% confidence`",
    r"\bforet(?:ell|old)\w*": "predict",
    r"\b(?:is|are|be|was|were) had\b": "is available, is installed",
    r"\b(?:go|goes|gone|going) on with\b": "resume, continue",
    r"\bwhether\b.*\bis open\b": "undecided, too uncertain to check",
    rf"(?<!there )\b(?:is|are) no (?!(?:{COMPARED})\b)": "is not a",
    r"\bstands (?:for itself|beside|behind|since|there)\b|\bbehind an? \w+ stands\b": "is",
    r"\btold apart\b": "distinguished",
    r"\b(?:rightly|wrongly)\b": "correctly, incorrectly",
    r"\banew\b": "again",
    r"\bput up with\b": "accept",
    r"\bfor there (?:is|are)\b": "because there is",
    r"\bnobody (?:has|could|would)\b": "say what happens instead",
    rf"\b(?:{UNITS}) an? (?:second|sample|token|query|cell|row|class|byte|run|step|cycle)\b": "per",
    r"\bmeans? nothing\b": "is meaningless",
    r"(?:\}|%|\d) of them\b": "name what is counted",
    r"\bwhat is measured stays\b": "finished measurements are kept",
    r"\b(?:would be|is) enough\.$": "say what to give",
}
ALL = re.compile("|".join(f"(?:{phrase})" for phrase in REFUSED), re.IGNORECASE)


def texts(source: str, *, help_shown: bool) -> Iterator[tuple[int, str]]:
    """Every string by its line; of an f-string a placeholder is ``{}``."""
    tree = ast.parse(source)
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    silent: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, owners) and not (help_shown and _is_command(node)):
            silent |= {id(one.value) for one in node.body[:1] if isinstance(one, ast.Expr)}
        if isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        said = _said(node)
        if said is None or said in EARLIER or id(node) in silent:
            continue
        yield node.lineno, said  # type: ignore[attr-defined]


def _said(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _is_command(node: ast.AST) -> bool:
    made = getattr(node, "decorator_list", [])
    return any("command(" in ast.unparse(one) for one in made)


def refused(said: str) -> str | None:
    """The first phrase of a text that is not plain."""
    found = ALL.search(re.sub(r"\s+", " ", said))
    return None if found is None else found[0]


def test_no_text_of_the_program_reads_like_a_translation() -> None:
    found = []
    for path in sorted([*ROOT.glob("bench/**/*.py"), *ROOT.glob("backends/**/*.py")]):
        shown = "commands" in path.parts
        for line, said in texts(path.read_text(encoding="utf-8"), help_shown=shown):
            if (phrase := refused(said)) is not None:
                found.append(
                    f"{path.relative_to(ROOT)}:{line}: {phrase!r} in {said.strip()[:100]!r}"
                )
    for path in sorted(ROOT.glob("bench/**/*.jinja")):
        shown_text = re.sub(r"\{\{.*?\}\}", "{}", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        if (phrase := refused(re.sub(r"\{%.*?%\}|<[^>]*>", " ", shown_text))) is not None:
            found.append(f"{path.relative_to(ROOT)}: {phrase!r}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "said",
    [
        "nothing else is surely as cheap and as accurate",
        "Foretold",
        "or only foretell",
        "{}: it can't be gone on with, because",
        "what can't be had",
        "whether that keeps to {} is open",
        "{} is no number of points",
        "behind an operator stands since which version it is defined so",
        "{} can't be told apart from the best",
        "is not computed rightly",
        "delete it to begin anew",
        "or put up with it and have it recorded",
        "accuracies, for there are no predictions",
        "samples a second",
        "its latency means nothing",
        "{} of them neither loading, compiling, scoring nor timing",
        "what is measured stays",
        "{} would be enough.",
    ],
)
def test_such_a_phrase_is_found(said: str) -> None:
    (found,) = texts(f"print({said!r})", help_shown=False)
    assert refused(found[1]) is not None


@pytest.mark.parametrize(
    "said",
    [
        "there is no input {}",
        "the loss is no longer a number",
        "its divergence is no larger",
        "a folder of them",
        "stands for different things in these runs",
        "see `bench show` for all of them",
        "the sample had 3 rows",
        "J per sample",
        "the original goes on",
    ],
)
def test_plain_words_that_look_alike_are_not(said: str) -> None:
    assert refused(said) is None


def test_docstrings_are_read_where_they_are_a_command_s_help_and_not_elsewhere() -> None:
    source = '@click.command("x")\ndef command():\n    """Surely a help."""\n'
    assert "Surely a help." in [said for _, said in texts(source, help_shown=True)]
    assert "Surely a help." not in [said for _, said in texts(source, help_shown=False)]
    assert not list(texts('def other():\n    """Surely a docstring."""\n', help_shown=True))


def test_nothing_that_is_shown_names_a_page_that_an_installation_lacks() -> None:
    """docs/ is no part of the wheel: who installed it with pip has no such file."""
    page = re.compile(r"\bdocs/[\w-]+\.md|\b[\w-]+\.md#")
    shown = [
        (path, said)
        for path in [*ROOT.glob("bench/**/*.py"), *ROOT.glob("backends/**/*.py")]
        if path != ROOT / "bench" / "api" / "reference.py"  # it writes one of those pages
        for _, said in texts(path.read_text("utf-8"), help_shown="commands" in path.parts)
    ]
    for pattern in ("bench/**/*.toml", "bench/**/*.jinja", "bench/**/*.in", "models/*.toml"):
        for path in ROOT.glob(pattern):
            lines = path.read_text("utf-8").splitlines()
            written = path.suffix == ".in"  # a comment in there goes into a user's file
            shown += [(path, line) for line in lines if written or not line.startswith("#")]
    found = [
        f"{path.relative_to(ROOT)}: {said.strip()[:100]}"
        for path, said in shown
        if page.search(said)
    ]
    assert not found, "\n".join(found)
