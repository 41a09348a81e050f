"""Files that CI services read, one module a format. `bench.formats.base` holds the protocol."""

from bench.formats.base import Format, Subject
from bench.formats.bencher import Bencher
from bench.formats.github_action import GithubAction
from bench.formats.junit import JUnit
from bench.formats.markdown import Markdown

#: by the name of the option that asks for it
FORMATS: dict[str, Format] = {
    "markdown": Markdown(),
    "junit": JUnit(),
    "bencher": Bencher(),
    "github_action": GithubAction(),
}

__all__ = ["FORMATS", "Format", "Subject"]
