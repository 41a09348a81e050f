"""Names of files that a line of a run may hold: each within the run, in the folder of its kind.

A run may come from anybody: what it names is read, and copied where it is published.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PredictionsFile = Annotated[str, Field(pattern=r"^predictions/[^/\\]+\.parquet$")]
OutputsFile = Annotated[str, Field(pattern=r"^(outputs/[^/\\]+\.npz)?$")]
