from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import MissingExtraError
from hardtemper.toolchain.study.figure_files import write_figure


def line(figure: Any) -> None:
    figure.subplots().plot([0, 1], [1, 0], label="falls")


def test_the_same_drawing_gives_the_same_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = (write_figure(tmp_path / name, "line", line, inches=(3.0, 2.0), salt="s") for name in "ab")
    assert first["svg"] == tmp_path / "a" / "line.svg"
    assert first["svg"].read_bytes() == second["svg"].read_bytes()
    assert first["png"].read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"hardtemper\[study\]"):
        write_figure(tmp_path, "line", line, inches=(3.0, 2.0), salt="s")
    assert list(tmp_path.iterdir()) == []
