"""What is made in a cache is there whole or not at all, and what a kill left doesn't stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.files import being_made, making_in

DAY_S = 24 * 3600


def interrupted(path: Path) -> None:
    with being_made(path) as making:
        making.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
    with being_made(tmp_path / "a.onnx") as making:
        making.write_bytes(b"whole")
    assert (tmp_path / "a.onnx").read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 1


def aged(path: Path, seconds: float) -> None:
    then_s = time.time() - seconds
    for each in (*path.rglob("*"), path):
        os.utime(each, (then_s, then_s))


@pytest.mark.parametrize("how", ["file", "folder"])
def test_what_a_kill_left_is_removed_when_the_cache_is_used_again(tmp_path: Path, how: str) -> None:
    left = [tmp_path / "a.onnx.77.partial", tmp_path / ".making-x" / "a.onnx.data"]
    busy = [tmp_path / "b.onnx.78.partial", tmp_path / ".making-y" / "b.onnx.data"]
    kept = [tmp_path / "c.onnx", tmp_path / "c.partial", tmp_path / "making-z"]
    for path in (*left, *busy, *kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for path in tmp_path.iterdir():
        aged(path, 2 * DAY_S)
    for path in busy:
        aged(path, 0)
    if how == "file":
        with being_made(tmp_path / "new") as making:
            making.touch()
    else:
        with making_in(tmp_path) as folder:
            (folder / "new").touch()
    assert [path.exists() for path in left] == [False, False]
    assert not (tmp_path / ".making-x").exists()
    assert all(path.exists() for path in (*busy, *kept))
