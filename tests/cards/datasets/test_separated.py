"""CSV and TSV files, by their own conventions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from data_cards import a_card, loaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cards.datasets import separated, tables
from bench.errors import SpecError

NUMBERS = '[dataset.columns]\ninputs = { x = ["f1", "f2", "f3"] }\n'
TEXTS = '[dataset.columns]\ntext = ["s"]\n'


def data(name: str, more: str = "") -> str:
    return f'[dataset]\nname = "d"\npath = "{name}"\n{more}'


def texts(folder: Path, name: str, content: str) -> list[str]:
    (folder / name).write_text(content, newline="")
    card = a_card(folder, data(name) + TEXTS)
    (found,) = tables.read_file(folder / name, card).texts
    return found


def numbers(folder: Path, content: str | bytes, name: str = "d.csv", more: str = "") -> list[float]:
    """The first column."""
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)
    found = loaded(folder, data(name, more) + NUMBERS)
    assert found.labels is not None
    assert len(found.labels) == found.examples
    return [float(row[0]) for row in found.inputs["x"]]


ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(ANY_TEXT, min_size=1, max_size=5), tabs=st.booleans())
def test_what_a_writer_of_csv_wrote_comes_back(
    tmp_path: Path, cells: list[str], tabs: bool
) -> None:
    path = tmp_path / ("d.tsv" if tabs else "d.csv")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
        writer.writerows([["s", "label"], *([cell, "0"] for cell in cells)])
    card = a_card(tmp_path, data(path.name) + TEXTS)
    assert list(tables.read_file(path, card).texts) == [cells]


def test_quotes_in_tab_separated_text_are_characters(tmp_path: Path) -> None:
    lines = 's\tlabel\n"I like it\t0\nso", he said\t1\n"both" ways\t0\nplain\t1\n'
    assert texts(tmp_path, "d.tsv", lines) == [
        '"I like it',
        'so", he said',
        '"both" ways',
        "plain",
    ]


def test_tab_separated_cells_in_quotes_are_unwrapped_where_all_are_well_formed(
    tmp_path: Path,
) -> None:
    lines = 's\tlabel\n"a ""word"""\t0\nplain\t1\n"tab\there"\t0\n"two\nlines"\t1\n'
    assert texts(tmp_path, "d.tsv", lines) == ['a "word"', "plain", "tab\there", "two\nlines"]


def test_an_inch_is_no_quote(tmp_path: Path) -> None:
    assert texts(tmp_path, "d.csv", 's,label\na 5" pipe,0\nb,1\n') == ['a 5" pipe', "b"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('"I" like it,0\nx,1\n', "the quotes of row 0"),
        ('x,1\n"never closed,0\nx,1\n', "the quotes of row 1"),
        ("x,1\nx,0,5\n", "row 1 .*has 3 cells, but there are 2 columns"),
        ('"x\ny",1\nx\n', "row 1 .*line 3 below the names.*has 1 cells"),
    ],
)
def test_rows_that_do_not_follow_the_convention_are_named(
    tmp_path: Path, rows: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        texts(tmp_path, "d.csv", "s,label\n" + rows)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.txt"])
def test_the_names_of_the_columns_tell_what_separates_them(
    tmp_path: Path, delimiter: str, name: str
) -> None:
    rows = "f1,f2,f3,label\n1,2,3,0\n4,5,6,1\n".replace(",", delimiter)
    assert numbers(tmp_path, rows, name) == [1, 4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_marks_at_the_beginning_and_ends_of_lines_are_no_content(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    rows = 'f1,"f2",f3,label\n1,2,3,0\n4,5,6,1\n\n'.replace("\n", newline)
    assert numbers(tmp_path, rows.encode(encoding)) == [1, 4]


def test_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="line 3 is not UTF-8; save the file as UTF-8"):
        numbers(tmp_path, "f1,f2,f3,label\n1,2,3,no\n1,2,3,né\n".encode("latin-1"))


@pytest.mark.parametrize(
    "beginning",
    [
        "# made by hand\n# in May\nf1,f2,f3,label\n",
        "# made by hand\n#f1,f2,f3,label\n",
        '"f1","f2","f3",label\n',
        '"a name\nof two lines",f1,f2,f3,label\n',
        "\nf1,f2,f3,label\n",
    ],
)
def test_the_names_are_found_below_comments_or_in_the_last(tmp_path: Path, beginning: str) -> None:
    extra = "0," if "two lines" in beginning else ""
    assert numbers(tmp_path, f"{beginning}{extra}1,2,3,0\n{extra}4,5,6,1\n") == [1, 4]


def test_a_file_without_names_loses_no_row_but_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no column 'f1'; its first line names '1', '2', '3', '0'"):
        numbers(tmp_path, "1,2,3,0\n4,5,6,1\n")


def test_numbers_may_turn_into_fractions_late(tmp_path: Path) -> None:
    """Readers that guess a column's type from the beginning of a long file fail on it."""
    rows = "1,2,3,0\n" * 200_000 + "1.5,2,3,0\n"
    assert numbers(tmp_path, "f1,f2,f3,label\n" + rows)[-1] == 1.5


def test_a_row_longer_than_any_block_is_read(tmp_path: Path) -> None:
    long = "word " * 500_000
    assert texts(tmp_path, "d.csv", f's,label\n"{long}",0\nx,1\n') == [long, "x"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("abc", "column 'f1' holds string, not numbers: row 1 is 'abc'"),
        ("0,5", "there are 4 columns"),
        ("", r"column 'f1' has no value in row 1 \(1 such rows in total\)"),
        ("NaN", "column 'f1' has no value in row 1"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, cell: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        numbers(tmp_path, f"f1,f2,f3,label\n1,2,3,0\n{cell},2,3,0\n")


def test_spaces_around_numbers_are_no_part_of_them(tmp_path: Path) -> None:
    assert numbers(tmp_path, "f1,f2,f3,label\n 1, 2 , 3, 0\n4 ,5,6,1\n") == [1, 4]


def test_places_written_as_fractions_are_places(tmp_path: Path) -> None:
    """pandas writes whole numbers so where a column had a gap."""
    rows = "f1,f2,f3,label\n1,2,3,0.0\n4,5,6,1.0\n"
    for more in ("", 'classes = ["a", "b"]\n'):
        (tmp_path / "d.csv").write_text(rows)
        found = loaded(tmp_path, data("d.csv", more) + NUMBERS)
        assert found.labels is not None
        assert found.labels.tolist() == [0, 1]


def test_among_places_the_cell_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("f1,f2,f3,label\n1,2,3,0\n4,5,6,\n")
    with pytest.raises(SpecError, match="the label '' in row 1 is none of the card's classes"):
        loaded(tmp_path, data("d.csv", 'classes = ["a", "b"]\n') + NUMBERS)


def test_the_limit_of_a_cell_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "d.csv").write_text('s,label\n"a",0\n')
    separated.read(tmp_path / "d.csv", a_card(tmp_path, data("d.csv") + TEXTS))
    assert csv.field_size_limit() == before


def test_an_empty_text_is_a_row(tmp_path: Path) -> None:
    assert texts(tmp_path, "d.csv", 's,label\n,0\n"",1\nNA,1\n') == ["", "", "NA"]
    assert np.asarray(texts(tmp_path, "d.tsv", "label\ts\n0\t\n")).tolist() == [""]
