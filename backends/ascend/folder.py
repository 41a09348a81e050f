"""A folder that `atc` takes: it refuses most characters in a path, and follows links.

atc checks the *real* path of the model against a list of characters, and looks for external
weights beside that real path (hicann/ge: file_util.cc, onnx_parser.cc). So a symbolic link helps
neither with a space in a folder's name nor where a cache keeps the weights as links to files of
other names: what it is given then are hard links, or copies on another file system.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Iterator, List

from bench.errors import SpecError

#: It takes Chinese characters too, whose encoding depends on the locale.
_TAKEN = re.compile(r"[A-Za-z0-9./_-]+")
#: How a tensor says where its data lie: an entry whose key is "location" (onnx.proto:
#: StringStringEntryProto), before the length and the bytes of its value.
_LOCATION = re.compile(rb"\x0a\x08location\x12")
_LONGEST = 4096  #: of a path (PATH_MAX): a longer name is none


def takes(path: Path) -> bool:
    """Whether atc takes a file or folder at that place."""
    return _TAKEN.fullmatch(str(path.resolve())) is not None


def scratch_in(folder: Path) -> Path:
    """``folder``, or the system's folder for temporary files where atc would refuse that.

    Raises `SpecError` where it would refuse both.
    """
    temporary = Path(tempfile.gettempdir())
    for place in (folder, temporary):
        if takes(place):
            return place
    raise SpecError(
        f"{folder}: atc only accepts paths of letters, digits, `.`, `_` and `-`, including that "
        f"of {temporary}. Set BENCH_CACHE or TMPDIR to a folder without them."
    )


def placed(model: Path, scratch: Path) -> Path:
    """A path of the model that atc takes, with its external data beside: its own, or one of
    links or copies in ``scratch``."""
    real, weights = model.resolve(), external_data(model)
    theirs = [(model.parent / name).resolve() for name in weights]
    if takes(model) and theirs == [(real.parent / name).resolve() for name in weights]:
        return real
    for name in weights:
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            _link(model.parent / name, scratch / "given" / name)
    given = scratch / "given" / "model.onnx"
    _link(model, given)
    return given


def external_data(model: Path) -> List[str]:
    """The files that hold the model's weights, as it names them; those that are there.

    The package onnx, which could tell for sure, is seldom in a vendor's interpreter. Bytes that
    look like such a name and are none name no file.
    """
    names = dict.fromkeys(_locations(model.read_bytes()))
    return [name for name in names if (model.parent / name).is_file()]


def _locations(content: bytes) -> Iterator[str]:
    for found in _LOCATION.finditer(content):
        length, shift, place = 0, 0, found.end()
        while place < len(content):
            byte = content[place]
            length, shift, place = length | (byte & 0x7F) << shift, shift + 7, place + 1
            if byte < 0x80:
                break
        name = content[place : place + length]
        if 0 < length <= _LONGEST and b"\0" not in name:
            yield os.fsdecode(name)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
