"""Where a workflow gets `infer-bench` from: what pip is told to install."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from bench.errors import SpecError

_NAME = "infer-bench"
#: The extra of infer-bench that brings a backend.
_EXTRAS = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "torch-compile": "torch",
    "iree": "iree",
    "mnn": "mnn",
    "tvm": "tvm",
    "tract": "tract",
}
#: A name with extras and then nothing, a version or an address (PEP 508), or an address alone.
_REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w., -]*\])?\s*(@\s*\S+|[<>=!~]\S.*)?|\S+[/:]\S+")
EXAMPLE = "infer-bench[cpu] @ git+https://HOST/OWNER/infer-bench@TAG"
#: What has to be told where nobody else can install what is installed here.
NOWHERE = (
    "infer-bench is on no package index yet, and this one was installed from a folder, so the "
    f"workflow can't install it. Say where it is with --install, like '{EXAMPLE}' or '-r FILE'."
)


def chosen(text: str, top: Path) -> list[str]:
    """What follows `pip install`, as somebody says it: a requirement, or ``-r FILE`` of the
    repository."""
    file = re.fullmatch(r"-r\s*(\S.*)", text)
    if file is not None:
        if not (top / file[1]).is_file():
            raise SpecError(f"--install {text}: the repository has no such file.")
        return ["-r", file[1]]
    if not _REQUIREMENT.fullmatch(text):
        raise SpecError(
            f"--install {text!r}: pip needs a requirement, like '{EXAMPLE}', or '-r FILE'."
        )
    return [text]


def found(targets: Sequence[str], *, torch: bool) -> tuple[list[str], bool]:
    """The same where nobody says: this very `infer-bench`, with those extras that the targets and
    the models need (without targets, all for a CPU); and whether others can get it."""
    named = f"{_NAME}[{','.join(_extras(targets, torch=torch)) or 'cpu'}]"
    try:
        origin = metadata.distribution(_NAME).read_text("direct_url.json")  # PEP 610
    except metadata.PackageNotFoundError:
        return [named], False
    address = "" if origin is None else _address(json.loads(origin))
    if address is None:
        return [named], False
    return [f"{named} @ {address}" if address else named], True


def _extras(targets: Sequence[str], *, torch: bool) -> list[str]:
    backends = [re.split("[:?@]", target)[0] for target in targets]
    extras = dict.fromkeys(_EXTRAS[name] for name in backends if name in _EXTRAS)
    return list(extras | {"torch": None} if torch else extras)


def _address(origin: dict[str, dict[str, str]] | dict[str, str]) -> str | None:
    """Where it was installed from; None for a folder or a file of this machine."""
    url, repository = str(origin["url"]), origin.get("vcs_info")
    if isinstance(repository, dict):
        url = f"{repository['vcs']}+{url}@{repository['commit_id']}"
    return None if "file:" in url else url
