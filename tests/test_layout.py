"""The layout: one name, one file; a module's tests are found by its name."""

from __future__ import annotations

import re
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
    tests = ROOT / "tests" / module.with_name(f"test_{module.stem.strip('_')}.py")
    assert tests.is_file(), f"expected tests in {tests.relative_to(ROOT)}"
    assert "def test_" in tests.read_text(encoding="utf-8")


def test_no_test_file_is_left_behind() -> None:
    """A test file in a mirrored folder is a module's, or one of `ACROSS`."""
    modules = {path.with_name(path.stem.strip("_")).as_posix() for path in MODULES}
    others = []
    for floor in FLOORS:
        for path in (ROOT / "tests" / floor).rglob("test_*.py"):
            place = path.relative_to(ROOT / "tests")
            module = place.with_name(place.stem.removeprefix("test_")).as_posix()
            if module not in modules:
                others.append(place.as_posix())
    assert sorted(others) == sorted(ACROSS)


ACROSS = {
    "bench/attacks/white_box/test_white_box.py": "what every white-box attack promises, one table of them",
    "bench/robustness/test_broken_defenses.py": "the whole evaluation against networks that only look robust",
    "export/quantization/test_random_networks.py": "random small networks of all operators",
    "export/tensorrt/test_api.py": "the bindings' surface as TensorRT's versions have it",
    "export/twin/test_exported_graphs.py": "twins of graphs as exporters and quantizers write them",
    "export/twin/test_onnx_node_cases.py": "ONNX's own cases of single operators",
    "export/twin/test_twin_graphs.py": "twins of whole graphs against ONNX Runtime",
    "runtime/bundle/test_swaps.py": "files that are swapped while a bundle or a graph is read",
    "runtime/test_format_corpus.py": "a bundle of every released format",
    "toolchain/compress/factorization/test_integer_factors.py": "factorized networks as integers, and a build of each",
    "toolchain/cli/test_bundles.py": "commands on finished bundles, damaged ones among them",
    "toolchain/cli/test_cli.py": "what all commands have in common",
}
"""Tests of several modules together, with what they are about."""


OUTSIDE = {
    "pylock.py",  # packaging's
    "_meta_registrations.py",  # torchvision's
    "autopgd_base.py",  # AutoAttack's
    "mine.py",  # a user's, see examples/
}
"""Files of other projects that the code names."""


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_that_a_module_names_exist(module: Path) -> None:
    known = {path.name for path in MODULES} | OUTSIDE
    named = set(re.findall(r"\b[\w/]+\.py\b", (ROOT / module).read_text(encoding="utf-8")))
    assert {name for name in named if Path(name).name not in known} == set()
    assert {name for name in named if "/" in name and Path(name).name not in OUTSIDE and not _ends(name)} == set()


def _ends(name: str) -> bool:
    return any(path.as_posix().endswith(name) for path in MODULES)
