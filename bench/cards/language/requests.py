"""What a request costs before the model sees it: a chat template, where the tokenizer has one, and
tokenising. Timed apart from the model, on the texts of the very prompts that are timed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arrays import Array

_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
#: Each prompt so often; the first time of each fills caches and isn't kept.
_REPEATS = 4


@dataclass(frozen=True)
class RequestTimes:
    """``ns`` are the times of making token ids of a request's text, one by one; ``templated`` says
    whether a chat template is in them."""

    ns: tuple[int, ...]
    templated: bool


def request_times(
    tokenizer: Path, prompts: Array, clock: Callable[[], int] = time.perf_counter_ns
) -> RequestTimes | None:
    """Of ``prompts``, token ids [..., tokens]; None where nothing here reads the tokenizer."""
    try:
        from tokenizers import Tokenizer  # tokenizers: optional
    except ImportError:
        return None
    reader: Any = Tokenizer.from_file(str(tokenizer))
    render = chat_template(tokenizer.parent)
    texts = [reader.decode(ids.tolist()) for ids in prompts.reshape(-1, prompts.shape[-1])]
    taken: list[int] = []
    for text in texts:
        marks = [clock()]
        for _ in range(_REPEATS):
            # A template writes the special tokens itself.
            reader.encode(render(text) if render else text, add_special_tokens=render is None)
            marks.append(clock())
        taken += [end - begin for begin, end in itertools.pairwise(marks[1:])]
    return RequestTimes(tuple(taken), render is not None)


def chat_template(folder: Path) -> Callable[[str], str] | None:
    """What writes a text as a user's message, ready for the answer; None without a template, or
    where one can't be used. Templates are Jinja's, run in its sandbox, as transformers does."""
    config = _read(folder / _CONFIG)
    source = config.get("chat_template")
    if (folder / _TEMPLATE).is_file():
        source = (folder / _TEMPLATE).read_text("utf-8")
    if isinstance(source, list):  # several by name
        source = next((one.get("template") for one in source if one.get("name") == "default"), None)
    if not isinstance(source, str):
        return None
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # jinja2: optional

        template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
            source
        )
        special = {name: _token(config.get(name)) for name in ("bos_token", "eos_token")}

        def render(text: str) -> str:
            messages: Sequence[dict[str, str]] = [{"role": "user", "content": text}]
            return str(template.render(messages=messages, add_generation_prompt=True, **special))

        render("text")
    except Exception:  # whatever a template does that this can't
        return None
    return render


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _token(value: object) -> str:
    """A special token, which may be written with its properties."""
    return str(value.get("content", "") if isinstance(value, dict) else value or "")
