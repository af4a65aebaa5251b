"""`toolchain compile`: its choices are the targets that compile; what it does is in bundles/test_compile_engine.py."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from hardtemper.export.quantization.targets import TARGETS
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.cli.compile import compile_


def test_what_it_compiles_for() -> None:
    (flag,) = (parameter for parameter in compile_.params if parameter.name == "target")
    assert isinstance(flag.type, click.Choice)
    assert list(flag.type.choices) == [target.name for target in TARGETS.values() if target.compiles]
    assert flag.default in flag.type.choices


def test_a_target_without_a_compiler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(tmp_path), "--target", "cpu"]) == 2
    assert "'cpu' is not" in capsys.readouterr().err
