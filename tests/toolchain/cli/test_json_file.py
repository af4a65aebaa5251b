"""The file of `--json`: whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardtemper.runtime.errors import InputError
from hardtemper.toolchain.cli.json_file import write_json


def test_a_file_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    write_json(path, {"b": 1, "a": "é"})
    assert json.loads(path.read_text()) == {"b": 1, "a": "é"}
    assert path.read_text().endswith("}\n")
    assert list(json.loads(path.read_text())) == ["b", "a"]
    write_json(path, {"b": 1, "a": "é"}, sort_keys=True)
    assert list(json.loads(path.read_text())) == ["a", "b"]
    assert [found.name for found in path.parent.iterdir()] == ["x.json"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"x\.json: cannot be written; got: ") as caught:
        write_json(tmp_path / "file" / "x.json", {})
    assert "\n" not in str(caught.value)


def test_what_is_no_json_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("before")
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert (tmp_path / "x.json").read_text() == "before"
