"""What `bench certify` prints: a line a target, and then each verdict's evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from shown_certificates import made_certificate

from bench.present.certificate import certificate_text, roundings
from bench.record.certificate import Certificate, Distributions, FreeRunning
from bench.record.result import Estimate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return made_certificate(tmp_path_factory.mktemp("certificate"))


def text_of(certificate: Certificate, width: int = 80) -> str:
    return certificate_text(certificate, width).plain


def flat(text: str) -> str:
    """Without line breaks."""
    return " ".join(text.split())


def part(text: str, target: str) -> str:
    """The evidence of one target."""
    return next(p for p in text.split("\n\n") if p.startswith(f"shop on {target}:"))


def test_the_verdicts_come_first_a_line_a_target(certificate: Certificate) -> None:
    table = text_of(certificate).split("\n\n")[1].splitlines()

    rows = [" ".join(line.split()[:4]) for line in table if line[:1] in "✓✗!"]
    assert rows[0].startswith("✓ near:cpu same")
    assert rows[1].startswith("✓ chip:npu * equivalent")
    assert rows[2].startswith("✗ wrong:npu degraded")
    assert rows[3] == "! ghost:cpu inconclusive"
    assert "points" in table[1]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(certificate: Certificate, width: int) -> None:
    assert max(cell_len(line) for line in text_of(certificate, width).splitlines()) <= width


def test_continued_lines_hang(certificate: Certificate) -> None:
    lines = part(text_of(certificate), "wrong:npu").splitlines()[1:]

    assert {len(line) - len(line.lstrip()) for line in lines} == {2, 4}
    assert all(": " in line for line in lines[1:] if line[2] != " ")


def test_a_reference_that_agrees_with_itself_is_said_to_bit_for_bit(
    certificate: Certificate,
) -> None:
    said = flat(text_of(certificate))

    assert "equal, bit for bit (in a fresh process, 1 thread instead of 2)" in said


def test_a_reference_that_wanders_is_told_by_condition_and_measures_the_others(
    tmp_path: Path,
) -> None:
    said = flat(text_of(made_certificate(tmp_path, floor=1e-5)))

    assert "equal, bit for bit (in a fresh process); " in said
    assert "roundings (1 thread instead of 2)." in said
    assert "of floor: as a multiple of the reference's own largest difference" in said
    assert "times the reference's own" in said


def test_nothing_is_said_twice(certificate: Certificate) -> None:
    text = text_of(certificate)
    same, degraded = flat(part(text, "near:cpu")), flat(part(text, "wrong:npu"))

    assert same.count("4,000 examples") == 2  # the reason, and how many are beyond the limit
    for said in (same, degraded):
        assert len(re.findall(r"points \([-+\d]", said)) == 1  # the change


def test_accuracy_is_in_percent_and_its_change_in_points(certificate: Certificate) -> None:
    said = flat(part(text_of(certificate), "wrong:npu"))

    assert "top-1 changes by -" in said
    assert "worse by more than the margin of 1.0 points." in said
    assert "% against " in said
    assert "turned incorrect and 0 turned correct (McNemar: p < 1e-9)" in said
    assert "By class: coat worse by more than 1.0 points (Holm-corrected)" in said
    assert "Where: It begins at Conv conv1." in said


def test_a_simulated_device_is_marked_and_the_mark_explained(certificate: Certificate) -> None:
    text = text_of(certificate)

    assert "* a simulated device: its answers count, its speed would not." in text
    assert "  Device: simulated.\n" in part(text, "chip:npu")
    assert "simulated" not in part(text, "near:cpu")


def test_one_that_did_not_run_says_why_and_no_more(certificate: Certificate) -> None:
    said = part(text_of(certificate), "ghost:cpu").splitlines()

    assert said == ["shop on ghost:cpu: inconclusive", "  ghost:cpu is not available."]


def test_a_language_model_has_its_measures(certificate: Certificate) -> None:
    def about(value: float) -> Estimate:
        return Estimate(value=value, low=value / 2, high=value * 2, confidence=0.95)

    distributions = Distributions(
        rows=9,
        divergence=about(0.01),
        divergence_error=0.001,
        quantiles={"p99": 0.2},
        probability_change=about(0.03),
        same_first=about(0.4),
        ln_perplexity_ratio=about(0.005),
        acceptance=about(0.45),
        acceptance_error=0.002,
    )
    running = FreeRunning(
        prompts=32, tokens=2048, same=about(0.4), first={"least": 3, "p50": 17}, ties=2
    )
    first = certificate.findings[0].model_copy(
        update={"distributions": distributions, "running": running}
    )
    examined = certificate.examined.model_copy(update={"unit": "token", "clusters": 70})
    changed = certificate.model_copy(update={"findings": (first,), "examined": examined})

    said = flat(text_of(changed))

    assert "in 70 documents" in said
    assert "0.010 (0.0050 to 0.020) nats a token (at most 0.0010 more)" in said
    assert "ln perplexity ratio 0.0050" in said
    assert "accepted as a draft 45.0% (22.5–90.0) or up to 0.2% more" in said
    assert "of 32 greedy answers (2,048 tokens) 40.0%" in said
    assert "part after 17 tokens (median), at the earliest after 3, 2 where" in said


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.52, "0.52"), (41, "41"), (5_712_345, "5,700,000"), (2.31e9, "2.3e9")],
)
def test_roundings_are_told_to_two_digits(value: float, shown: str) -> None:
    assert roundings(value) == shown
