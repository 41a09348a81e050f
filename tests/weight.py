"""What the light install weighs: `pip install '.[onnxruntime]'` in a fresh environment, measured.

Prints the distributions, heaviest first, and their sum without pip and setuptools, compiled modules
included, as pip leaves them. Ends with 1 where the sum is above `MOST_MB`. Where nothing can be
installed, it says that the measurement is skipped and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: 315 MB were measured with duckdb 2.0 and onnxruntime 1.32 (Linux, x86-64).
MOST_MB = 350
_TIMEOUT_S = 1800
_NOT_OURS = ("pip", "setuptools")
#: The files of each distribution, by their sizes on the disk; whole blocks, as `du` counts.
_MEASURE = """
import json
from importlib.metadata import distributions
sizes = {}
for one in distributions():
    files = {file.locate().resolve() for file in one.files or ()}
    files |= {made for file in files for made in file.parent.glob(f"__pycache__/{file.stem}.*.pyc")}
    name = one.metadata["Name"]
    sizes[name] = sum(file.stat().st_blocks * 512 for file in files if file.is_file())
print(json.dumps(sizes))
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="bench-weight-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        wanted = ["--quiet", "--disable-pip-version-check", f"{ROOT}[onnxruntime]"]
        done = _run(python, "-m", "pip", "install", *wanted)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["it failed"]
            print(f"weight: skipped, the light install can't be made: {said[-1]}")
            return 0
        works = _run(python, "-m", "bench", "doctor", "onnxruntime")
        if works.returncode != 0 or "onnxruntime:cpu" not in works.stdout:
            print(f"weight: the light install doesn't work: {works.stderr.strip()}")
            return 1
        sizes: dict[str, int] = json.loads(_run(python, "-c", _MEASURE).stdout)
    return report({name: size for name, size in sizes.items() if name not in _NOT_OURS})


def report(sizes: dict[str, int]) -> int:
    """Print the sizes in bytes; 1 where their sum is above the most."""
    total_mb = sum(sizes.values()) / 2**20
    for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        if size >= 2**20:
            print(f"{size / 2**20:6.0f} MB  {name}")
    print(f"weight: {total_mb:.0f} MB in {len(sizes)} distributions, {MOST_MB} at most")
    return 1 if total_mb > MOST_MB else 0


def _run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *arguments], cwd="/", capture_output=True, text=True, timeout=_TIMEOUT_S
    )


if __name__ == "__main__":
    sys.exit(main())
