"""What a run says of each time that it was gone on with: a line of resumes.jsonl."""

from __future__ import annotations

from pydantic import Field

from bench.cell import Frozen

#: what may have changed since a run began, each refused unless it is allowed by name -> in words
CHANGES: dict[str, str] = {
    "machine": "machine",
    "versions": "versions",
    "model": "model content",
    "plan": "plan",
}


class Change(Frozen):
    """Something that is no longer as it was when the run began."""

    kind: str = Field(description=f"one of {', '.join(CHANGES)}")
    what: str = Field(description="which fact, distribution, model or cells")
    was: str
    now: str

    def __str__(self) -> str:
        return f"{CHANGES.get(self.kind, self.kind)}: {self.what} was {self.was} and is {self.now}"


class Resumption(Frozen):
    """One `bench run --resume`."""

    resumed_at: str = Field(description="ISO 8601, UTC")
    command: str = Field(description="the command line")
    bench_version: str
    changes: tuple[Change, ...] = Field((), description="what had changed, and was allowed")
    retried: tuple[str, ...] = Field((), description="ids of failed cells that were tried again")
