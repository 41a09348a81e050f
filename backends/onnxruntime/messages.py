"""What ONNX Runtime's errors and log lines mean, in words for its users."""

from __future__ import annotations

import re
from typing import Dict, Mapping, Sequence, Tuple

#: How ONNX Runtime names an operator that it lacks: as a whole, and for the types at hand.
LACKS = re.compile(
    r"error: (\S+?)\(\S*\) is not a registered|(\S+?)\(-?\d+\) is not a registered|"
    r"No Op registered for (\S+)|find an implementation for (\w+)",
    re.IGNORECASE,
)

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
#: What a provider's own words follow, in the order of how much they tell.
_CAUSES = (
    re.compile(r"with error: (.+)"),
    re.compile(r"(CUDA failure \d+: [^;]+)"),
    re.compile(r"(libc?\S+\.so\S*: cannot open shared object file.*)"),
    re.compile(r"\[[EF]:onnxruntime:[^\]]*\] (.+)"),
)


def cause_in(lines: Sequence[str]) -> str:
    """Why a provider did not start, among the lines that it printed; empty where none tells."""
    plain = [_ESCAPES.sub("", line).strip() for line in lines]
    for pattern in _CAUSES:
        for line in plain:
            found = pattern.search(line)
            if found and "fallback to CPU EP" not in line:
                return without_place(found[1])
    return ""


def without_place(text: str) -> str:
    """The words without where in ONNX Runtime's source they were written."""
    text = re.sub(r"^/?\S+\.(cc|h):\d+ .*?(?=\[|\bfail|\bPlease|\bcreate |\bInvalid )", "", text)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |^\[ERROR\] (\[\w+\] )?", "", text)
    return text.strip()


#: What ONNX Runtime logs on the nodes that a provider doesn't get (fallback_cpu_capability.cc and
#: the GetCapability of its providers), and how it is said here.
_REASONS = (
    (re.compile(r"Force fallback to CPU execution for node: (\S+)"), "kept on the CPU by design"),
    (re.compile(r"kernel not found in registries for Op type: \S+ node name: (\S+)"), "no kernel"),
)


def reasons(lines: Sequence[str]) -> Dict[str, str]:
    """Node -> why it is not where it was wanted, for those on which the log says so."""
    found: Dict[str, str] = {}
    for line in lines:
        for pattern, words in _REASONS:
            match = pattern.search(_ESCAPES.sub("", line))
            if match:
                found[match[1]] = words
    return found


def describe(node: Tuple[str, str, str], why: Mapping[str, str]) -> str:
    """``odd (Shrink, on cpu: no kernel)``."""
    name, op, provider = node
    place = "cpu" if provider == "CPUExecutionProvider" else provider
    operator = f"{op}, " if op != name else ""
    reason = f": {why[name]}" if name in why else ""
    return f"{name} ({operator}on {place}{reason})"
