"""Try changes in copies of the tree, several at once, each against the tests that reach it."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from changes import Change
from kept import Results, tests_of
from lists import HERE, ROOT

#: A changed loop may never end: the tests get so many times what they took, and a while to start.
PATIENCE, START_S = 10, 30.0
#: CPU seconds, while coverage watches. What only a long simulation notices counts as unnoticed: a
#: promise has to have a quick test as well.
LONGEST_S = 2.0
_SHARED = {"", "shared"}  #: contexts of the server's coverage that name no test


@dataclass(frozen=True)
class Result:
    """Whether a change was noticed, and by which test; ``tests`` is False where none reaches it."""

    noticed: bool
    by: str
    tests: bool


class Tree:
    """A copy of the tree with an interpreter whose processes, and theirs, import that copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _copy_tree(folder)
        # Whoever starts `sys.executable` gets the copy as well: it comes before the editable
        # install, whose finder is asked last.
        venv.create(folder / ".venv", symlinks=True, with_pip=False)
        (packages,) = (folder / ".venv" / "lib").glob("python*/site-packages")
        installed = [f"import site; site.addsitedir({place!r})" for place in _site_packages()]
        (packages / "tree.pth").write_text("\n".join([str(folder), *installed]) + "\n")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [str(folder / ".venv" / "bin" / "python"), str(HERE / "server.py")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._receive()
        self._stamp = 1_000_000_000

    def run(self, change: Change | None, **request: Any) -> dict[str, Any]:
        """The server's answer, with the change made for its time."""
        if change is None:
            return self._ask(request)
        path = self.folder / change.file
        source = path.read_text()
        self._write(path, change.apply(source))
        try:
            return self._ask(request)
        finally:
            self._write(path, source)

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()  # it ends when it has answered
        try:
            self._server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._server.terminate()
            self._server.wait()

    def _write(self, path: Path, text: str) -> None:
        """Compiled files know their source by its size and second."""
        path.write_text(text)
        self._stamp += 2
        os.utime(path, (self._stamp, self._stamp))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the server of the tests has ended")
        return dict(json.loads(line))


def try_all(changes: Sequence[Change], results: Results, jobs: int) -> dict[Change, Result]:
    """A result for each change; those that are known to hold are not tried again."""
    waiting: Queue[Change] = Queue()
    for change in changes:
        if results.of(change) is None:
            waiting.put(change)
    if not waiting.empty():
        rooms = sorted({tests_of(change.file) for change in list(waiting.queue)})
        with _trees(min(jobs, waiting.qsize())) as trees:
            baselines = {room: _baseline(trees[0], room, results) for room in rooms}
            _work(trees, waiting, baselines, results)
    return {change: _result(results.of(change)) for change in changes}


def _result(entry: dict[str, Any] | None) -> Result:
    assert entry is not None, "a file changed while its changes were tried; run again"
    return Result(entry["outcome"] != "passed", entry["test"], entry["reached"])


def _work(
    trees: list[Tree], waiting: Queue[Change], baselines: dict[str, Any], results: Results
) -> None:
    lock = threading.Lock()
    total = waiting.qsize()
    errors: list[BaseException] = []

    def work(tree: Tree) -> None:
        try:
            for change in _until_empty(waiting):
                reply, reached = _try(tree, change, baselines[tests_of(change.file)])
                with lock:
                    results.keep(change, reply, reached, tree.folder)
                    left = waiting.qsize()
                    if left % 25 == 0:
                        print(f"{total - left} of {total} tried", file=sys.stderr, flush=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(tree,), daemon=True) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _until_empty(waiting: Queue[Change]) -> Iterator[Change]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def _try(tree: Tree, change: Change, baseline: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The tests that reach the change, the quickest first, until one fails."""
    tests = _reaching(change, baseline)
    if not tests:
        return {"outcome": "passed", "test": ""}, False
    took_s = sum(baseline["took_s"][test] for test in tests)
    files = sorted({test.partition("::")[0] for test in tests})
    timeout_s = START_S + PATIENCE * took_s
    return tree.run(change, files=files, tests=tests, timeout_s=timeout_s, trace=False), True


def _reaching(change: Change, baseline: dict[str, Any]) -> list[str]:
    """Those of the file named after the changed one come first, then the quickest."""
    lines: dict[str, list[str]] = baseline["lines"].get(change.file, {})
    contexts = {test for line in change.lines for test in lines.get(str(line), ())}
    took_s: dict[str, float] = baseline["took_s"]
    own = f"test_{Path(change.file).stem}.py"
    if contexts & _SHARED:  # what runs on import or for several is reached by all who use the file
        contexts = {test for tests in lines.values() for test in tests}
        contexts |= {test for test in took_s if own in test}
    tests = [test for test in contexts if took_s.get(test, LONGEST_S) < LONGEST_S]
    return sorted(tests, key=lambda test: (own not in test, took_s[test]))


def _baseline(tree: Tree, tests: str, results: Results) -> dict[str, Any]:
    """How long each test takes and what it reaches, without a change. They have to pass."""
    kept = results.baseline(tests)
    if kept is not None:
        return kept
    print(f"what each of {tests} reaches", file=sys.stderr, flush=True)
    found = tree.run(None, files=[tests], tests=None, timeout_s=1800, trace=True)
    if found["outcome"] != "passed":
        sys.exit(f"mutants: without any change, {found['test'] or tests} fails")
    results.keep_baseline(tests, found, tree.folder)
    return found


@contextmanager
def _trees(number: int) -> Iterator[list[Tree]]:
    folder = Path(tempfile.mkdtemp(prefix="bench-mutants-"))
    trees: list[Tree] = []
    try:
        for index in range(number):
            trees.append(Tree(folder / str(index)))
        yield trees
    finally:
        for tree in trees:
            tree.close()
        shutil.rmtree(folder)


def _copy_tree(folder: Path) -> None:
    """What git tracks or would; the packages that are installed under another name as well."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for name in ("backends", "models"):
        (folder / "bench" / name).symlink_to(folder / name)


def _site_packages() -> Iterable[str]:
    return site.getsitepackages()
