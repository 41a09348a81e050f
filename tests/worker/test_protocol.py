"""What a scheduler and a worker of another `bench` would misunderstand has another number."""

from __future__ import annotations

import dataclasses
import hashlib
import typing

from bench.worker import PROTOCOL, messages

#: What is said under which number. Whoever changes a message gives the protocol the next number,
#: and writes both here: a worker may be of a `bench` that is installed elsewhere.
SAID = (9, "90833d8902ad")


def declared(kind: object, found: dict[str, str]) -> None:
    """Adds the fields of all dataclasses that a type is made of, as they are written."""
    for part in typing.get_args(kind):
        declared(part, found)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)) or kind.__name__ in found:
        return
    fields = dataclasses.fields(kind)
    found[kind.__name__] = ", ".join(f"{field.name}: {field.type}" for field in fields)
    for hint in typing.get_type_hints(kind).values():
        declared(hint, found)


def test_messages_that_changed_have_another_number() -> None:
    found: dict[str, str] = {}
    for kind in (messages.Hello, messages.Request, messages.Answer):
        declared(kind, found)
    assert {"Hello", "Bounds", "Options", "TensorSpec"} <= found.keys(), "values in messages too"
    digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:12]
    assert (PROTOCOL, digest) == SAID
