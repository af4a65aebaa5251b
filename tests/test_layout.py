"""The layout: one name, one file; a module's tests are found by its name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("runtime", "export", "bench", "toolchain")
MODULES = sorted(
    path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py") if path.name != "__init__.py"
)


def test_no_file_name_stands_for_two_things() -> None:
    names = Counter(path.name for path in MODULES)
    assert {name: count for name, count in names.items() if count > 1} == {}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_modules_tests_are_found_by_its_name(module: Path) -> None:
    tests = ROOT / "tests" / module.with_name(f"test_{module.name.lstrip('_')}")
    assert tests.is_file(), f"expected tests in {tests.relative_to(ROOT)}"
    assert "def test_" in tests.read_text(encoding="utf-8")


def test_no_test_file_is_left_behind() -> None:
    """A test file in a mirrored folder is a module's, or says what else it is in its name's own words below."""
    modules = {path.with_suffix("").as_posix().replace("/__", "/") for path in MODULES}
    others = []
    for floor in FLOORS:
        for path in (ROOT / "tests" / floor).rglob("test_*.py"):
            place = path.relative_to(ROOT / "tests")
            module = place.with_name(place.stem.removeprefix("test_")).as_posix()
            if module not in modules:
                others.append(place.as_posix())
    assert sorted(others) == sorted(ACROSS)


ACROSS: tuple[str, ...] = ()
"""Tests of several modules together."""
