from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import InputError
from hardtemper.toolchain.recipe.read import load_recipe, with_overrides
from hardtemper.toolchain.search.front_files import front_rows, sensitivity_rows, write_front


def test_the_files_of_a_front(searched: Any, tmp_path: Path) -> None:
    (tmp_path / "point-77.toml").write_text("of an earlier front")
    result = searched.result
    write_front(result, tmp_path)
    points = [f"point-{place:02d}.toml" for place in range(1, len(result.front) + 1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.json", "front.md", "front.svg", *points]
    for place, name in enumerate(points):
        assert with_overrides(load_recipe(str(tmp_path / name)), {}) == result.recipe(place)
    told = json.loads((tmp_path / "front.json").read_text(encoding="utf-8"))
    assert told["budget"]["limit"] == result.space.budget.limit
    assert [point["quantity"] for point in told["front"]] == [point.quantity for point in result.front]
    assert [point["recipe"] for point in told["front"]] == points
    assert len(told["trials"]) == 3
    assert told["environment"]["cpu"]
    page = (tmp_path / "front.md").read_text(encoding="utf-8")
    for row in [*front_rows(result), *sensitivity_rows(result)]:
        assert f"| {' | '.join(row)} |" in page
    picture = (tmp_path / "front.svg").read_bytes()
    assert ET.fromstring(picture).tag.endswith("svg")
    write_front(result, tmp_path)
    assert (tmp_path / "front.svg").read_bytes() == picture


def test_rows_have_units_and_shares(searched: Any) -> None:
    header, *rows = front_rows(searched.result)
    assert header == ("point", "trial", "macs", "clean %", "robust %", "recipe")
    assert all(re.fullmatch(r"\d{1,2},\d{3}", row[2]) for row in rows)
    assert sensitivity_rows(searched.result)[1][0] == "none: the dense network"


def test_a_folder_that_cannot_be_written(searched: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_front(searched.result, tmp_path / "file")
