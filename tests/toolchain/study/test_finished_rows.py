from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hardtemper.toolchain.study.finished_rows import finished_row, write_table


def test_a_finished_row_is_made_once_and_one_that_failed_again(tmp_path: Path) -> None:
    made: list[dict[str, Any]] = [{"failed": "too large"}, {"share": 1.0}, {"share": 0.5}]
    path = tmp_path / "rows" / "a.json"
    failed, row, again = (finished_row(path, lambda: made.pop(0)) for _ in range(3))
    assert (failed["failed"], row["share"], len(made)) == ("too large", 1.0, 1)
    assert again == row
    assert isinstance(row["commit"], str)


def test_a_table_names_its_command_and_machine(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_table(path, "python -m study", [{"share": 1.0}])
    table = json.loads(path.read_text(encoding="utf-8"))
    assert (table["command"], table["rows"]) == ("python -m study", [{"share": 1.0}])
    assert "onnxruntime" in table["environment"]["versions"]
