"""What documents list is what the code has: keys, recipes, attacks, operators, objectives, alarms, Python API."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

import hardtemper
from hardtemper.bench.attacks.catalogue import ATTACKS, AttackPlan
from hardtemper.bench.attacks.presets import PRESETS
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.alarm_table import ALARMS
from hardtemper.export.quantization.operators.matrix import FAMILIES
from hardtemper.export.quantization.targets import TARGETS
from hardtemper.export.twin.operators.attributes import AUDITED
from hardtemper.export.twin.operators.supported import OPERATORS
from hardtemper.export.twin.qoperators import QUANTIZED
from hardtemper.runtime.backends.table import BACKENDS
from hardtemper.runtime.bundle import bundle_limits
from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.graph_check import limits
from hardtemper.runtime.progress import silent
from hardtemper.toolchain import api
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.read import recipe_names
from hardtemper.toolchain.study.read_study import load_study, study_names

ROOT = Path(__file__).parents[2]
Doc = Callable[[str], Any]


def test_the_keys_of_a_recipe_are_generated(doc: Doc) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hardtemper.toolchain.recipe.describe"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert doc("docs/recipe.md").text == done.stdout, (
        "python -m hardtemper.toolchain.recipe.describe > docs/recipe.md makes the page"
    )


def test_the_shipped_recipes_are_listed(doc: Doc) -> None:
    rows = doc("docs/build.md").table("| recipe | what | data |")
    assert [row[0].strip("`") for row in rows] == recipe_names()


def test_the_attacks_are_listed(doc: Doc) -> None:
    page = doc("docs/attacks.md")
    white, black = (re.findall(r"^\| `([\w-]+)` \|", part, re.MULTILINE) for part in _halves(page.text))
    assert [*white, *black] == list(ATTACKS)
    for name, maker in ATTACKS.items():
        threat = ThreatModel("l2" if name == "cw" else "linf", 0.1)
        plan = maker(threat, 10)
        assert isinstance(plan, AttackPlan)
        assert plan.target == ("twin" if name in white else "engine")


def test_the_limits_are_those_of_the_code(doc: Doc) -> None:
    rows = doc("docs/limits.md").table("| what | at most | in the code |")
    listed = []
    for _, most, where in rows:
        path, name = re.findall(r"`([^`]+)`", where)
        module = importlib.import_module("hardtemper." + path.removesuffix(".py").replace("/", "."))
        assert int(most) == getattr(module, name), name
        listed.append(f"{path} {name}")
    pages = {"runtime/graph_check/limits.py": limits, "runtime/bundle/bundle_limits.py": bundle_limits}
    assert {f"{path} {name}" for path, page in pages.items() for name in page.__all__} <= set(listed)


def _halves(text: str) -> tuple[str, str]:
    white, _, black = text.partition("On the twin, white-box:")[2].partition("On the engine, with queries:")
    return white, black.partition("\n## ")[0]


def test_the_twins_operators_are_listed(doc: Doc) -> None:
    text = doc("docs/operators.md").text
    for heading, names in (("ONNX", OPERATORS), ("INT8 in QOperator format", QUANTIZED)):
        listed = text.partition(f"## {heading}\n")[2].partition("\n\n")[0]
        assert re.split(r",\s+", listed) == sorted(names)
    assert f"opset 7 to {AUDITED}:" in text


def test_the_operators_of_the_integer_graph_are_listed(doc: Doc) -> None:
    listed = doc("docs/operators.md").table("| family | operator | becomes | kernel of ONNX Runtime | but |")
    assert listed == [
        [family, row.operator, row.handling, row.kernel, row.except_for + (" (refused)" if row.refused else "")]
        for family, rows in FAMILIES.items()
        for row in rows
        if row.handling != "float"
    ]


def test_the_presets_are_listed(doc: Doc) -> None:
    rows = {row[0].strip("`"): row[1] for row in doc("docs/attacks.md").table("| `--attack` | attacks | remarks |")}
    assert list(rows) == list(PRESETS)
    for name, cell in rows.items():
        if name != "full":
            assert tuple(re.findall(r"`([\w-]+)`", cell)) == PRESETS[name]
    assert set(PRESETS["full"]) == {*ATTACKS, "transfer"}


def test_the_objectives_are_listed(doc: Doc) -> None:
    rows = doc("docs/fine-tuning.md").table("| `objective` | minimizes |")
    known = get_args(Adversary.model_fields["objective"].annotation)
    assert tuple(row[0].split("`")[1] for row in rows) == known


def test_every_alarm_has_a_page_with_its_limit(doc: Doc) -> None:
    limits = {name: 100 * kind.threshold for name, kind in ALARMS.items()}
    rows = doc("docs/alarms/README.md").table("| alarm | a sign that | limit |")
    assert {row[0]: float(row[2].removesuffix(" %")) for row in rows} == limits
    there = {path.stem for path in (ROOT / "docs" / "alarms").glob("*.md")} - {"README"}
    assert there == {name.replace(" ", "-") for name in limits}


@pytest.mark.parametrize("name", ALARMS)
def test_a_page_says_what_why_and_what_to_do(doc: Doc, name: str) -> None:
    page = doc(f"docs/alarms/{name.replace(' ', '-')}.md")
    assert page.text.startswith(f"# Alarm: {name}\n**Raised if**")
    said = re.search(r"Limit:\s(\d+)( %)?", page.text)
    assert said is not None
    assert float(said[1]) == 100 * ALARMS[name].threshold
    for part in ("**Why it matters.**", "**What the figure says.**", "**What to do**"):
        assert part in page.text


def test_targets_and_backends_are_described(doc: Doc) -> None:
    schemes = [row[0] for row in doc("docs/exactness.md").table("| | activations | weights |")]
    assert {name.split("`")[1].split()[1] for name in schemes} == set(TARGETS)
    assert all(f"`{name}`" in doc("docs/python.md").text for name in BACKENDS)


def test_the_manifest_is_described(doc: Doc) -> None:
    rows = doc("docs/bundle-format.md").table("| key | holds |")
    assert [row[0].strip("`") for row in rows] == [field.name for field in dataclasses.fields(Manifest)]


def test_the_python_api_is_described(doc: Doc) -> None:
    page = doc("docs/python.md")
    functions = {name: getattr(api, name) for name in ("build", "bench", "verify")} | {"load": hardtemper.load}
    assert {name for name in hardtemper.__all__ if name.islower() and not name.startswith("_")} == functions.keys()
    rows = page.table("| function | gives | the command |")
    assert {row[0].split("(")[0].removeprefix("`hardtemper.") for row in rows} == functions.keys()
    for name, function in functions.items():
        (line,) = re.findall(rf"^`{name}\((.*)\)`$", page.text, re.MULTILINE)
        said = inspect.signature(eval(f"lambda {line}: None", {"silent": silent})).parameters
        real = inspect.signature(function).parameters
        assert [(p.name, p.kind, p.default) for p in said.values()] == [
            (p.name, p.kind, p.default) for p in real.values()
        ]


def test_the_files_that_contributing_names_exist(doc: Doc) -> None:
    page = doc("CONTRIBUTING.md")
    rows = page.table("| add | file | registry | test | document |")
    assert len(rows) == 10
    for row in rows:
        for cell in row[1:]:
            named = re.findall(r"`([\w./-]+/[\w./-]*)`", cell)
            assert named, f"{row[0]}: {cell}"
            for path in named:
                assert (ROOT / path).exists(), f"{row[0]}: {path}"
        sources = [(ROOT / path).read_text(encoding="utf-8") for path in re.findall(r"`([\w./-]+\.py)`", row[2])]
        for name in re.findall(r"`([A-Za-z_]+)`", row[2]):
            assert any(re.search(rf"^(def )?{name}\b", source, re.MULTILINE) for source in sources), f"{row[0]}: {name}"


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'version: "{hardtemper.__version__}"' in text
    assert "cff-version: 1.2.0" in text
    assert "license: Apache-2.0" in text


def test_the_studies_are_listed(doc: Doc) -> None:
    counts: dict[str, int] = {}
    papers = ('"Adversarial Fine-tuning', '"Deep Compression', '"Model Compression', "no paper")
    for names, _, cells in (row for paper in papers for row in doc("docs/studies.md").table(f"| study | of {paper}")):
        counts |= dict(zip(re.findall(r"`(\S+)`", names), map(int, re.findall(r"\d+", cells)), strict=True))
    assert counts == {name: len(load_study(name).cells) for name in study_names()}
