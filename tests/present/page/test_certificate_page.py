"""The page of a certificate: what it holds, and that names stay names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hostile_run import HOSTILE, IMAGE
from shown_certificates import EXAMPLES, made_certificate

from bench.commands.cli import cli
from bench.present.page.certificate import CertificatePage, certificate_html, certificate_page
from bench.present.page.svg import Bin, Interval, Mark, curve, histogram, intervals
from bench.record.certificate import Certificate
from bench.store.certificates import StoredEvidence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return made_certificate(folder)


@pytest.fixture(scope="module")
def page(folder: Path, certificate: Certificate) -> CertificatePage:
    return certificate_page(certificate, StoredEvidence(folder, certificate).read)


def test_the_verdicts_are_counted_and_listed_first(page: CertificatePage) -> None:
    assert page.headline.startswith(
        "Of 4 held against the reference: 1 same, 1 different but equivalent, 1 degraded, "
        "1 inconclusive."
    )
    assert [row[3].text.split(" ", 1)[1] for row in page.verdicts.rows] == [
        "same",
        "different but equivalent",
        "degraded",
        "inconclusive",
    ]
    text = certificate_html(page)
    assert text.index('id="verdict"') < text.index('id="held"') < text.index('id="floor"')
    assert text.index('id="floor"') < text.index('id="party-1"') < text.index('id="check"')


def test_who_was_held_against_whom_has_digests_and_versions(page: CertificatePage) -> None:
    assert len(page.parties.rows) == 5
    assert [row[0].text for row in page.parties.rows] == ["reference"] + ["candidate"] * 4
    assert "a" * 16 in page.parties.rows[0][2].text
    assert any("5" * 16 in said for said in page.held)
    assert [row[5].text for row in page.parties.rows][2] == "A device, simulated"


def test_the_floor_has_each_condition_and_each_target_beside_itself(page: CertificatePage) -> None:
    assert [row[1].text for row in page.floors.rows] == [
        "in a fresh process",
        "1 thread instead of 2",
        *["in a fresh process"] * 3,
    ]


def test_a_picture_counts_every_row_that_differs_and_those_beyond_the_limit(
    page: CertificatePage, certificate: Certificate
) -> None:
    for part, finding in zip(page.parts[:3], certificate.findings[:3], strict=True):
        drawing = part.drawings[0]
        bins = [[entry.values[0] for entry in row] for row in drawing.table.rows]
        assert finding.numbers is not None
        equal = re.search(r"([\d,]+) examples are equal", drawing.words)
        left = int(equal[1].replace(",", "")) if equal else 0
        assert sum(row[2] or 0 for row in bins) + left == EXAMPLES
        assert sum(row[3] or 0 for row in bins) == finding.numbers.beyond


def test_a_lost_class_is_drawn_as_degraded(page: CertificatePage) -> None:
    (drawing,) = [d for d in page.parts[2].drawings if d.name.endswith("decisions")]

    assert [row[0].text.split(" ")[0] for row in drawing.table.rows] == [
        "all",
        "shoe",
        "shirt",
        "coat",
        "bag",
    ]
    assert drawing.svg.count('class="dot bad"') == 2  # the whole, and the coats
    assert "Degraded: all, coat" in drawing.words


def test_evidence_that_is_lost_costs_its_pictures_alone(tmp_path: Path) -> None:
    certificate = made_certificate(tmp_path)
    for file in (tmp_path / "evidence").iterdir():
        file.unlink()

    page = certificate_page(certificate, StoredEvidence(tmp_path, certificate).read)

    assert page.verdicts.rows[0][3].text == "✓ same"
    assert not page.parts[0].drawings
    assert page.overview is not None


def test_names_that_try_to_be_markup_stay_names(tmp_path: Path) -> None:
    certificate = made_certificate(tmp_path, model=IMAGE)
    place = certificate.places[0].model_copy(update={"sentence": f"`{HOSTILE}`"})
    groups = certificate.examined.model_copy(update={"dataset": HOSTILE, "groups": (HOSTILE,) * 4})
    certificate = certificate.model_copy(
        update={"places": (place,), "examined": groups, "command": HOSTILE}
    )

    text = certificate_html(
        certificate_page(certificate, StoredEvidence(tmp_path, certificate).read)
    )

    assert "<img" not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_asks_for_nothing_from_elsewhere(page: CertificatePage) -> None:
    text = certificate_html(page)

    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href)="(?!#|data:,)', text)
    assert len(text) < 300_000


def test_bench_report_writes_it_again(folder: Path, page: CertificatePage, tmp_path: Path) -> None:
    for named in (folder, folder / "certificate.json"):
        done = CliRunner().invoke(
            cli, ["report", str(named), "-o", str(tmp_path / "page.html")], standalone_mode=False
        )
        assert done.exception is None, done.output
        assert (tmp_path / "page.html").read_text() == certificate_html(page)


def test_bench_report_takes_a_certificate_alone(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(folder), str(folder)], standalone_mode=False)

    assert "only one certificate" in str(done.exception)


def test_check_results_holds_the_page_to_the_certificate(tmp_path: Path) -> None:
    certificate = made_certificate(tmp_path)
    text = certificate_html(
        certificate_page(certificate, StoredEvidence(tmp_path, certificate).read)
    )

    def checked(page: str) -> tuple[object, str]:
        (tmp_path / "index.html").write_text(page)
        done = CliRunner().invoke(cli, ["publish", "--check", str(tmp_path)], standalone_mode=False)
        return done.return_value, done.output

    assert checked(text)[0] == 0, checked(text)[1]
    code, said = checked(text.replace("✗ degraded", "✓ same"))
    assert code == 1
    assert "index.html, line" in said
    assert "✓ same" in said
    assert "✗ degraded" in said


# -- pictures -------------------------------------------------------------------------------------


def percent_of(svg: str, pattern: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, svg)]


def test_an_interval_lies_where_its_values_are() -> None:
    svg = intervals([Interval("a <b>", 0.0, -1.0, 2.0)], margin=1.0, title="change")

    (dot,) = percent_of(svg, r'cx="([\d.]+)%"')
    assert dot == 50
    band = re.search(r'<rect x="([\d.]+)%" y="0.0" width="([\d.]+)%"', svg)
    whisker = re.search(r'x1="([\d.]+)%" y1="[\d.]+" x2="([\d.]+)%" [^>]*class="whisker"', svg)
    assert band is not None
    assert whisker is not None
    assert float(whisker[1]) == float(band[1])  # from -1, where the band begins
    assert float(whisker[2]) == 95  # to 2, the largest that is drawn
    assert "a &lt;b&gt;" in svg


def test_bars_are_as_tall_as_their_counts_and_split_at_the_limit() -> None:
    svg = histogram([Bin(1, 10, 40, 0), Bin(10, 100, 20, 5)], [Mark(50, "limit")], "roundings")

    bars = percent_of(svg, r'height="([\d.]+)" class="bar"')
    beyond = percent_of(svg, r'height="([\d.]+)" class="beyond"')
    assert bars == [120, 45]
    assert beyond == [0, 15]


def test_a_curve_rises_from_left_to_right() -> None:
    svg = curve([(1e-9, 0.0), (1e-6, 0.5), (1e-3, 1.0)], [Mark(1e-6, "50%")], "nats")

    found = re.search(r'points="([^"]+)"', svg)
    assert found is not None
    points = [tuple(map(float, point.split(","))) for point in found[1].split()]
    assert points == [(50.0, 1000.0), (500.0, 500.0), (950.0, 0.0)]
    assert 'text-anchor="middle">1e-7<' in svg
