"""The table of alarms: the checks make no other ones, and each says what it means and what to do."""

from __future__ import annotations

import ast
from pathlib import Path

import hardtemper
from hardtemper.bench.attacks.catalogue import ATTACKS
from hardtemper.bench.robustness.alarm_table import ALARMS

NAMES = {
    "random",
    "twin differs",
    "without gradients",
    "zero gradient",
    "flat loss",
    "large epsilon",
    "more steps",
}


def test_names() -> None:
    assert set(ALARMS) == NAMES
    assert all(name == kind.name for name, kind in ALARMS.items())


def test_the_checks_make_each_of_them() -> None:
    source = (Path(hardtemper.__file__).parent / "bench" / "robustness" / "alarm_checks.py").read_text(encoding="utf-8")
    made = [
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_alarm"
        if isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, made)) == sorted(NAMES)


def test_each_is_one_sentence_and_one_advice() -> None:
    for kind in ALARMS.values():
        assert 0 <= kind.threshold < 1
        for text in (kind.meaning, kind.advice):
            assert len(text) > 20
            assert not text.endswith(".")
            assert ". " not in text


def test_advice_names_attacks_that_exist() -> None:
    words = {word.strip("(),") for kind in ALARMS.values() for word in kind.advice.split()}
    assert {"bpda", "square"} <= words & set(ATTACKS)
