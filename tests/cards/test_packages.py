"""Models whose files packages bring: listed with how to get them, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cards.card import load_card
from bench.discover import card_paths
from bench.errors import SpecError

BROUGHT = [name for name, path in card_paths().items() if "package:" in path.read_text()]


@pytest.mark.parametrize("name", BROUGHT)
def test_a_shipped_card_is_whole_or_says_what_to_install(name: str) -> None:
    """Everything but the files is checked before they are looked for."""
    try:
        card = load_card(card_paths()[name])
    except SpecError as error:
        problem = str(error)
        assert "is not installed. Install it: pip install 'infer-bench[" in problem
        assert "\n" not in problem
    else:
        assert card.provenance.install
        assert card.provenance.licence


def test_the_list_tells_how_to_get_what_is_absent(bench: Any) -> None:
    done = bench("model", "list")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "not installed" not in lines["fashion-student"]
    for name in BROUGHT:
        here = "not installed" not in lines[name]
        assert here or "pip install 'infer-bench[" in lines[name]


def test_a_file_of_a_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some-package" / "data").mkdir(parents=True)
    (tmp_path / "some-package/data/m.onnx").write_bytes(b"model")
    text = 'name = "m"\ntask = "raw"\n[source]\nonnx = "package:some-package/data/m.onnx"\n'
    text += '[[inputs]]\nname = "x"\nshape = ["batch", 4]\n'
    text += "[provenance]\ninstall = \"pip install 'some-package'\"\n"
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(SpecError, match=r"data/m\.onnx is not installed\. Install it: pip install"):
        load_card(tmp_path / "m.toml")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load_card(tmp_path / "m.toml").model_file().onnx
    assert found == tmp_path / "some-package/data/m.onnx"
