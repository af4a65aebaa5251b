"""`toolchain search` on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.sensitivity import LayerSensitivity
from hardtemper.toolchain.search.trial_queue import Outcome

RUN = "hardtemper.toolchain.search.run_search.search"


@dataclass
class Found:
    space: Any
    outcomes: tuple[Outcome, ...]
    front: tuple[Outcome, ...]
    sensitivity: tuple[LayerSensitivity, ...]


def test_options_reach_the_search_and_the_front_is_shown(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}
    point = Outcome(number=4, values={}, scale=1.0, quantity=123456.0, clean=0.875, robust=0.625)
    dense = LayerSensitivity(layer="", method="", kept=1.0, clean=0.9, robust=0.1)

    def run(recipe: Any, budget: Budget, **options: Any) -> Found:
        asked.update(options, recipe=recipe, budget=budget)
        space = type("Space", (), {"budget": budget})
        return Found(space=space, outcomes=(point,), front=(point,), sensitivity=(dense,))

    monkeypatch.setattr(RUN, run)
    monkeypatch.setattr("hardtemper.toolchain.search.front_files.write_front", lambda _, out: asked.update(written=out))
    options = ["--trials", "9", "--epochs", "1", "--images", "64", "--set", "search.weight_bits=[4,8]"]
    storage = ["--storage", "journal:log"]
    assert main(["search", str(recipe), "--budget", "macs=2e5", "--out", str(tmp_path / "o"), *options, *storage]) == 0
    assert asked["budget"] == Budget("macs", 2e5)
    assert (asked["trials"], asked["storage"]) == (9, "journal:log")
    assert asked["out"] == asked["written"] == tmp_path / "o"
    found = asked["recipe"].search
    assert (found.epochs, found.images, found.weight_bits) == (1, 64, (4, 8))
    shown = capsys.readouterr().out
    for words in ("Layer sensitivity", "Pareto front under macs=200000 (1 trials)", "123,456", "87.5", "62.5"):
        assert words in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "latency=0.2"], "did you mean latency_ms=VALUE?"),
        (["--budget", "macs=0"], "a number above 0; got: 0"),
        (["--budget", "macs=1e6", "--set", "search.weight_bits=[9]"], "search.weight_bits"),
        (["--budget", "macs=1e6", "--set", "search.method=['filters']"], "did you mean 'search.methods'?"),
    ],
)
def test_what_is_wrong_is_one_line(error: Callable[..., str], recipe: Path, options: list[str], words: str) -> None:
    assert words in error("search", recipe, *options)


def test_a_missing_package_is_named_with_its_extra(
    error: Callable[..., str], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardtemper.toolchain.cli.search.find_spec", lambda _: None)
    said = error("search", recipe, "--budget", "macs=1e6")
    assert "toolchain search needs the package 'optuna'" in said
    assert "pip install 'hardtemper[search]'" in said


def test_an_interruption_can_go_on(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RUN, interrupt)
    assert main(["search", str(recipe), "--budget", "macs=1e6"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; the same command goes on where it stopped\n")
