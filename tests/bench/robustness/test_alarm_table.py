"""The table of alarms: the checks make no other ones, and each says what it means and what to do."""

from __future__ import annotations

import ast
from pathlib import Path

import hardtemper
from hardtemper.bench.attacks.catalogue import ATTACKS
from hardtemper.bench.robustness.alarm_table import ALARMS
from hardtemper.bench.robustness.doubt import NO_ATTACK, NO_WHITE_BOX, WRONG_TWIN

NAMES = {
    "data mismatch",
    "no answer",
    "no attack works",
    "wrong twin",
    "no white-box attack",
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
    made = []
    for path in (Path(hardtemper.__file__).parent / "bench").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        made += [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "Alarm.of"]
    constants = {"NO_ATTACK": NO_ATTACK, "NO_WHITE_BOX": NO_WHITE_BOX, "WRONG_TWIN": WRONG_TWIN}
    assert sorted(constants.get(name, name.strip("'")) for name in made) == sorted(NAMES)


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
