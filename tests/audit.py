"""Known flaws of the distributions that are installed, told by pip-audit.

Ends with 1 where one is known. Where pip-audit can't be had, or the service that knows the flaws
can't be reached, it says that the audit is skipped and ends with 0: that is no property of this
project.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

_TIMEOUT_S = 180
_INSTALL = [sys.executable, "-m", "pip", "install", "--quiet", "pip-audit>=2.7"]
_AUDIT = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
_AUDIT += ["--skip-editable", "--timeout", "15"]


def main() -> int:
    return audit(_INSTALL, _AUDIT)


def audit(install: Sequence[str], command: Sequence[str]) -> int:
    """Install the tool, ask it, print what it knows."""
    problem, _ = _run(install)
    if problem:
        return _skipped(f"pip-audit can't be installed: {problem}")
    problem, output = _run(command)
    try:
        found = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return _skipped(f"the advisory service can't be asked: {problem or 'it printed nothing'}")
    flaws = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in "
        f"{', '.join(flaw['fix_versions']) or 'no release'}"
        for one in found
        for flaw in one.get("vulns", ())
    ]
    for line in flaws:
        print(line)
    print(f"audit: {len(flaws)} known flaws in {len(found)} distributions")
    return 1 if flaws else 0


def _skipped(why: str) -> int:
    print(f"audit: skipped, {why}")
    return 0


def _run(command: Sequence[str]) -> tuple[str, str]:
    """The last complaint of a command that failed (empty: it did not), and what it printed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error), ""
    said = done.stderr.strip().splitlines()
    return ("" if done.returncode == 0 else (said or ["it failed"])[-1]), done.stdout


if __name__ == "__main__":
    sys.exit(main())
