"""Files that CI services read, one module a format. `bench.present.ci.base` holds the protocol."""

from bench.present.ci.base import Format, Subject
from bench.present.ci.bencher import Bencher
from bench.present.ci.github_action import GithubAction
from bench.present.ci.junit import JUnit
from bench.present.ci.markdown import Markdown

#: by the name of the option that asks for it
FORMATS: dict[str, Format] = {
    "markdown": Markdown(),
    "junit": JUnit(),
    "bencher": Bencher(),
    "github_action": GithubAction(),
}

__all__ = ["FORMATS", "Format", "Subject"]
