"""CSV, TSV, Parquet and Hugging Face folders: read alike, and every mistake named."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cards import loaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.errors import SpecError, Unavailable

COLUMNS = """
[dataset]
name = "d"
path = "PATH"
classes = ["no", "yes"]
[dataset.columns]
label = "answer"
[dataset.columns.inputs]
x = ["a", "b", "c"]
"""
ROWS = {
    "a": [1.0, 2.0, 3.0],
    "b": [4, 5, 6],
    "c": [0.5, 0.25, 0.125],
    "answer": ["yes", "no", "yes"],
}
EXPECTED = np.array([[1, 4, 0.5], [2, 5, 0.25], [3, 6, 0.125]], np.float32)


def text_of(rows: dict[str, list[Any]], separator: str) -> str:
    lines = [separator.join(rows)]
    lines += [separator.join(map(str, row)) for row in zip(*rows.values(), strict=True)]
    return "\n".join(lines) + "\n"


def write(path: Path, rows: dict[str, list[Any]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(rows), path)
    else:
        path.write_text(text_of(rows, "\t" if path.suffix == ".tsv" else ","))


def save_to_disk(folder: Path, table: pa.Table, features: dict[str, Any], files: int = 1) -> None:
    """What Hugging Face's ``Dataset.save_to_disk`` writes: Arrow streams and two JSON files."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    size = -(-table.num_rows // files)
    for i, name in enumerate(names):
        part = table.slice(i * size, size)
        sink = pa.OSFile(str(folder / name), "wb")
        with sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "test"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.parquet"])
def test_each_format_gives_the_same_arrays(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ROWS)
    found = loaded(tmp_path, COLUMNS.replace("PATH", name))
    np.testing.assert_array_equal(found.inputs["x"], EXPECTED)
    assert found.inputs["x"].dtype == np.float32
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1]


def test_a_list_column_is_a_vector(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": EXPECTED.tolist(), "label": [1, 0, 1]}), tmp_path / "d.parquet")
    found = loaded(tmp_path, '[dataset]\nname = "d"\npath = "d.parquet"\n')
    np.testing.assert_array_equal(found.inputs["x"], EXPECTED)
    ragged = {"x": [[1.0, 2, 3], [1.0], [1.0, 2, 3]], "label": [1, 0, 1]}
    pq.write_table(pa.table(ragged), tmp_path / "d.parquet")
    with pytest.raises(SpecError, match=r"different lengths \(3 in row 0, 1 in row 1\)"):
        loaded(tmp_path, '[dataset]\nname = "d"\npath = "d.parquet"\n')


@pytest.mark.parametrize("split", [None, "test"])
def test_a_hugging_face_folder_is_read_without_its_package(
    tmp_path: Path, split: str | None
) -> None:
    table = pa.table({"x": EXPECTED.tolist(), "label": [1, 0, 1]})
    features = {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}, "x": {"_type": "List"}}
    folder = tmp_path / "hub"
    save_to_disk(folder / split if split else folder, table, features, files=2)
    text = '[dataset]\nname = "d"\npath = "hub"\nclasses = ["yes", "no"]\n'
    if split:
        (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        with pytest.raises(SpecError, match="it has the splits train, test"):
            loaded(tmp_path, text)
        text += 'split = "test"\n'
    found = loaded(tmp_path, text)
    np.testing.assert_array_equal(found.inputs["x"], EXPECTED)
    assert found.labels is not None
    # The data set says that 1 is "yes", which is the card's class 0.
    assert found.labels.tolist() == [0, 1, 0]


def test_images_inside_a_table_are_decoded(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    images = [{"bytes": buffer.getvalue(), "path": None}] * 2
    save_to_disk(tmp_path / "hub", pa.table({"x": images, "label": [0, 1]}), {})
    shape = {"x": ("float32", ("batch", 4, 4, 3))}
    found = loaded(tmp_path, '[dataset]\nname = "d"\npath = "hub"\n', inputs=shape)
    np.testing.assert_array_equal(found.inputs["x"][1], pixels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": ["yes", "maybe", "no"]}, "label 'maybe' in row 1 is none of"),
        ({"a": [1.0, None, 3.0]}, "column 'a' has no value in row 1"),
        ({"b": ["x", "y", "z"]}, "column 'b' holds string, not numbers"),
        ({"a": None}, "there is no column 'a'; it has b, c, answer"),
    ],
)
def test_mistakes_in_a_table_name_file_column_and_row(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    rows = {k: v for k, v in {**ROWS, **change}.items() if v is not None}
    write(tmp_path / "d.parquet", rows)
    with pytest.raises(SpecError, match=words) as caught:
        loaded(tmp_path, COLUMNS.replace("PATH", "d.parquet"))
    assert "d.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("message", ["", "\n\n", "\nthe footer is torn.\nin thrift"])
def test_an_error_of_the_reader_is_told_whatever_it_says(
    tmp_path: Path, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error without words has no first line."""

    def broken(*_: Any, **__: Any) -> None:
        raise pa.ArrowInvalid(message)

    write(tmp_path / "d.parquet", ROWS)
    monkeypatch.setattr("bench.cards.datasets.tables.parquet_table", broken)
    said = "the footer is torn" if message.strip() else "ArrowInvalid"
    with pytest.raises(SpecError, match=f"not a readable parquet file: {said}. Write it again"):
        loaded(tmp_path, COLUMNS.replace("PATH", "d.parquet"))


def test_empty_and_broken_files(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", {name: [] for name in ROWS})
    with pytest.raises(SpecError, match="has no rows"):
        loaded(tmp_path, COLUMNS.replace("PATH", "d.csv"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(SpecError, match="not a readable parquet file"):
        loaded(tmp_path, COLUMNS.replace("PATH", "d.parquet"))
    (tmp_path / "d.csv").write_bytes(b"")
    with pytest.raises(SpecError, match="not a readable csv file"):
        loaded(tmp_path, COLUMNS.replace("PATH", "d.csv"))


def test_text_labels_need_the_order_of_the_classes(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", ROWS)
    text = COLUMNS.replace("PATH", "d.csv").replace('classes = ["no", "yes"]\n', "")
    with pytest.raises(SpecError, match="in the order of the model's outputs"):
        loaded(tmp_path, text)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_give_data_or_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "d.csv").write_bytes(data)
    problem = ""
    try:
        loaded(tmp_path, COLUMNS.replace("PATH", "d.csv"))
    except SpecError as error:
        problem = str(error)
    assert "\n" not in problem


# -- texts ----------------------------------------------------------------------------------------

TEXT = """
[dataset]
name = "d"
path = "d.csv"
tokenizer = "tokenizer.json"
max_length = 4
pooling = "mean"
[dataset.columns]
text = ["one", "other"]
score = "alike"
"""
TOKENS = {
    "input_ids": ("int64", ("batch", "seq")),
    "attention_mask": ("int64", ("batch", "seq")),
}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[PAD]", "[UNK]", "a", "cat", "dog", "runs", "sleeps"]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_pairs_of_texts_become_tokens_and_places(tokenizer: Path) -> None:
    rows = {"one": ["a cat runs", "a dog"], "other": ["a dog", "a cat sleeps a lot"]}
    write(tokenizer / "d.csv", {**rows, "alike": [0.1, 0.9]})
    found = loaded(tokenizer, TEXT, inputs=TOKENS, task="embedding")
    assert found.inputs["input_ids"].tolist() == [[2, 3, 5, 0], [2, 4, 0, 0], [2, 3, 6, 2]]
    assert found.inputs["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert found.pairs is not None
    assert found.scores is not None
    assert found.pairs.tolist() == [[0, 1], [1, 2]]
    assert found.scores.tolist() == [0.1, 0.9]


def test_labelled_texts_stay_one_example_a_row(tokenizer: Path) -> None:
    write(tokenizer / "d.csv", {"one": ["a cat", "a cat", "a dog"], "label": [1, 1, 0]})
    text = TEXT.replace('text = ["one", "other"]\nscore = "alike"', 'text = ["one"]')
    found = loaded(tokenizer, text, inputs=TOKENS)
    assert found.inputs["input_ids"].shape == (3, 2)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 1, 0]


def test_texts_that_were_cut_are_told(tokenizer: Path) -> None:
    rows = {"one": ["a cat", "a cat runs a dog", "a dog runs a cat"], "label": [1, 1, 0]}
    write(tokenizer / "d.csv", rows)
    text = TEXT.replace('text = ["one", "other"]\nscore = "alike"', 'text = ["one"]')
    found = loaded(tokenizer, text, inputs=TOKENS)
    assert found.notes == (
        "d.csv: 2 of 3 texts are longer than `max_length` = 4 tokens and were cut; the first "
        "begins 'a cat runs a dog'",
    )
    assert loaded(tokenizer, text.replace("= 4", "= 5"), inputs=TOKENS).notes == ()


def test_two_labelled_texts_are_one_example_together(tokenizer: Path) -> None:
    write(tokenizer / "d.csv", {"one": ["a cat", "a"], "other": ["runs", "dog"], "label": [1, 0]})
    found = loaded(tokenizer, TEXT.replace('\nscore = "alike"', ""), inputs=TOKENS)
    assert found.inputs["input_ids"].tolist() == [[2, 3, 5], [2, 4, 0]]
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]


def test_numbers_are_no_texts(tokenizer: Path) -> None:
    pq.write_table(pa.table({"one": [1, 2], "label": [1, 0]}), tokenizer / "d.parquet")
    text = TEXT.replace('text = ["one", "other"]\nscore = "alike"', 'text = ["one"]')
    with pytest.raises(SpecError, match="column 'one' holds int64, not text"):
        loaded(tokenizer, text.replace("d.csv", "d.parquet"), inputs=TOKENS)


def test_a_score_that_is_no_number_is_named(tokenizer: Path) -> None:
    rows = {"one": ["a", "b"], "other": ["b", "a"], "alike": [1.0, float("nan")]}
    pq.write_table(pa.table(rows), tokenizer / "d.parquet")
    with pytest.raises(SpecError, match=r"the score nan in row 1 \(1 of 2 rows\)"):
        loaded(tokenizer, TEXT.replace("d.csv", "d.parquet"), inputs=TOKENS, task="embedding")


def test_mistakes_about_tokenizers(tokenizer: Path) -> None:
    write(tokenizer / "d.csv", {"one": ["a"], "other": ["a"], "alike": [1.0]})
    with pytest.raises(SpecError, match=r"needs `dataset\.tokenizer`"):
        loaded(tokenizer, TEXT.replace('tokenizer = "tokenizer.json"\n', ""), inputs=TOKENS)
    with pytest.raises(SpecError, match="no such tokenizer file"):
        loaded(tokenizer, TEXT.replace("tokenizer.json", "absent"), inputs=TOKENS)
    with pytest.raises(SpecError, match="the input 'x' can't be made from text"):
        loaded(tokenizer, TEXT)
    (tokenizer / "tokenizer.json").write_text("{}")
    with pytest.raises(SpecError, match="not a readable tokenizer"):
        loaded(tokenizer, TEXT, inputs=TOKENS)


# -- pairs and queries in npz ---------------------------------------------------------------------

NPZ = '[dataset]\nname = "d"\npath = "d.npz"\n'


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pairs": [[0, 9]], "scores": [1.0]}, "`pairs` must hold indices of the 4"),
        ({"pairs": [[0, 1]], "scores": [1.0, 2.0]}, r"`pairs` must be \(pairs, 2\)"),
        ({"queries": [0], "items": [1, 2], "relevant": [[True]]}, "`relevant` must be"),
        ({"queries": [0], "items": [1], "relevant": [[False]]}, "at least one relevant item per"),
    ],
)
def test_relations_have_to_fit_the_examples(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    made = {name: np.array(values) for name, values in arrays.items()}
    np.savez(tmp_path / "d.npz", x=np.ones((4, 3), np.float32), **made)
    with pytest.raises(SpecError, match=words):
        loaded(tmp_path, NPZ, task="embedding")


def test_pairs_and_queries_are_read(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz",
        x=np.ones((4, 3), np.float32),
        pairs=np.array([[0, 1], [2, 3]]),
        scores=np.array([1, 5]),
    )
    found = loaded(tmp_path, NPZ, task="embedding")
    assert found.labels is None
    assert found.scores is not None
    assert found.scores.dtype == np.float64


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('prepared')", "it ended the program"),
        ("def rows():\n    quit()", "it ended the program"),
        ("def rows():\n    return input()", "gave no table of labelled data: EOFError"),
    ],
)
def test_a_file_of_data_that_ends_the_program_is_one_sentence(
    tmp_path: Path, code: str, words: str
) -> None:
    from bench.cards.datasets.tables import read_function

    (tmp_path / "rows.py").write_text(code)
    with pytest.raises(SpecError, match=words) as caught:
        read_function(tmp_path / "rows.py", "rows", None)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["d.csv", "d.tsv", "d.parquet", "d.arrow", "hub", "many", "d.py:f"]
)
def test_a_table_without_what_reads_it_says_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_to_disk(tmp_path / "hub", pa.table(ROWS), {})
    (tmp_path / "many").mkdir()
    for path in ("d.csv", "d.tsv", "d.parquet", "many/0.parquet"):
        write(tmp_path / path, ROWS)
    (tmp_path / "d.arrow").write_bytes(b"")
    (tmp_path / "d.py").write_text("def f():\n    return {}\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = f"{name.partition(':')[0]}: reading a table needs pyarrow, which is not installed. pip"
    with pytest.raises(Unavailable, match=re.escape(said)):
        loaded(tmp_path, COLUMNS.replace("PATH", name))
