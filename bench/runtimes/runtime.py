"""What has to be known of a backend to start its workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from bench.runtimes.environments.interpreter import Interpreter
from bench.runtimes.environments.stage import stage
from bench.worker import PATH_VARIABLE


@dataclass(frozen=True)
class Runtime:
    """How to start a backend's workers: its name, adapter (``module:Class``), variables, the
    forms and variants of a model that it takes, and where not in the interpreter of `bench`."""

    name: str
    reference: str
    environment: Mapping[str, str]
    forms: tuple[str, ...] = ("onnx",)
    variants: tuple[str, ...] = ("fp32",)
    interpreter: Interpreter | None = None
    requirable: tuple[str, ...] = ()  #: environments that `bench env create` makes for it
    static_shapes: tuple[str, ...] = ()  #: kinds of its devices that take fixed shapes alone
    imports_to_load: tuple[str, ...] = ()  #: modules that loading any model needs
    moves: bool = False  #: its threads stay where they are put after a model is loaded

    @property
    def label(self) -> str:
        """``backend``, or ``backend@environment``: the head of its targets."""
        return self.name if self.interpreter is None else f"{self.name}@{self.environment_name}"

    @property
    def environment_name(self) -> str:
        """The environment that its workers run in; empty in the interpreter of `bench`."""
        return "" if self.interpreter is None else self.interpreter.environment

    @property
    def python(self) -> str:
        """The interpreter of its workers."""
        return sys.executable if self.interpreter is None else self.interpreter.python

    def start_variables(self) -> dict[str, str]:
        """What its processes start with, but for what the backend sets."""
        if self.interpreter is None:
            return dict(os.environ)
        staged = str(stage(self.reference))
        return {**self.interpreter.start_variables(), PATH_VARIABLE: staged}
