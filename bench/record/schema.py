"""The JSON Schema of every file of a run, and of a certificate, from the models that write them.

The schemas ship as ``bench/record/schemas/*.schema.json``; ``python -m bench.record.schema`` writes
them again, and a test says that they are what the models generate. They allow fields that they
don't name, because a later bench of the same schema version may add some (see
`bench.store.lines.read_lines`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from bench.cell import Frozen
from bench.errors import SpecError
from bench.record.certificate import CERTIFICATE_VERSION, Certificate
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import SCHEMA_VERSION, Invocation, Record
from bench.record.resumption import Resumption
from bench.record.windows import Window

FOLDER = Path(__file__).parent / "schemas"
_SUFFIX = ".schema.json"


class Sample(Frozen):
    """A row of ``samples/*.parquet``, as an object: one timed call."""

    cell_id: str = Field(description="which cell; `canary` is the canary")
    invocation: int = Field(ge=0, description="the index of the invocation")
    round: int = Field(ge=0)
    position: int = Field(ge=0, description="the block's position in the round")
    disturbed: bool = Field(description="another program used the CPU meanwhile")
    latency_ns: int = Field(ge=0)
    ttft_ns: int | None = Field(
        None, ge=0, description="of a whole query the time to its first token"
    )


CERTIFICATE = "certificate"
#: name -> the model, and what it describes
MODELS: dict[str, tuple[type[BaseModel], str]] = {
    "run": (RunHeader, "run.json"),
    "record": (Record, "a line of records.jsonl"),
    "invocation": (Invocation, "a line of invocations.jsonl"),
    "worker": (WorkerFacts, "a line of workers.jsonl"),
    "facts": (CellFacts, "a line of facts.jsonl"),
    "energy": (Window, "a line of energy.jsonl"),
    "resumption": (Resumption, "a line of resumes.jsonl"),
    "sample": (Sample, "a row of samples/*.parquet"),
    CERTIFICATE: (Certificate, "certificate.json"),
}


def generate(name: str) -> dict[str, Any]:
    """The schema of one kind of file, from its model."""
    model, what = MODELS[name]
    schema = model.model_json_schema(mode="serialization")
    schema = _open(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{what} of {_whose(name)}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _whose(name: str) -> str:
    if name == CERTIFICATE:
        return f"bench certify, version {CERTIFICATE_VERSION}"
    return f"a bench run, schema version {SCHEMA_VERSION}"


def shipped(name: str) -> dict[str, Any]:
    """The schema that is installed. Raises `SpecError` for a name that there is none of."""
    if name not in MODELS:
        raise SpecError(f"there is no schema {name!r}. Available: {', '.join(MODELS)}.")
    found: dict[str, Any] = json.loads((FOLDER / f"{name}{_SUFFIX}").read_text())
    return found


def text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1) + "\n"


def _open(value: Any) -> Any:
    """The schema without what forbids further fields, and without titles that repeat names."""
    if isinstance(value, list):
        return [_open(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _open(part)
        for key, part in value.items()
        if (key, part) != ("additionalProperties", False)
        and not (key == "title" and isinstance(part, str))
    }


def write() -> None:
    """Generate all of them into `FOLDER`."""
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        (FOLDER / f"{name}{_SUFFIX}").write_text(text(generate(name)))


if __name__ == "__main__":
    write()
