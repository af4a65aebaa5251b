"""The README: short, its commands run, its Python runs, and nothing is skipped."""

from __future__ import annotations

import inspect
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hardtemper
from hardtemper.toolchain import api
from hardtemper.toolchain.cli import cli

ROOT = Path(__file__).parents[2]
LINES, WORDS = 120, 800


@pytest.fixture(scope="module")
def readme(doc: Callable[[str], Any]) -> Any:
    return doc("README.md")


def test_it_is_read_in_three_minutes(readme: Any) -> None:
    assert len(readme.text.splitlines()) <= LINES
    assert len(readme.text.split()) <= WORDS


def test_its_pictures_are_one_drawing_in_two_palettes(readme: Any) -> None:
    names = re.findall(r'(?:src|srcset)="(docs/pipeline-\w+\.svg)"', readme.text)
    assert sorted(names) == ["docs/pipeline-dark.svg", "docs/pipeline-light.svg"]
    light, dark = ((ROOT / name).read_text(encoding="utf-8") for name in sorted(names, reverse=True))
    assert ET.fromstring(light).tag == "{http://www.w3.org/2000/svg}svg"
    colour = re.compile(r"#[0-9a-f]{6}")
    assert colour.sub("", light) == colour.sub("", dark)
    assert set(colour.findall(light)).isdisjoint(colour.findall(dark))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_of_the_toolchain_runs(
    readme: Any, tiny: dict[str, list[str]], run: Callable[..., None], here: Path
) -> None:
    """In the README's order, in one folder, with tiny settings behind each."""
    ran = []
    for words in readme.commands():
        if words[0] == "toolchain":
            run(*words[1:], *tiny[words[1]])
            ran.append(words[1])
    assert (here / "out" / "fashion-mnist" / "manifest.json").is_file()
    assert set(ran) == {"build", "verify", "bench", "inspect"} <= cli.commands.keys()


def test_its_python_runs(readme: Any, bundle: Path, npz: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`build` is given the tiny bundle instead of an hour; its arguments are held against its signature."""
    shutil.copytree(bundle, here / "out" / "fashion-mnist")

    def build(*args: Any, **kwargs: Any) -> None:
        given = inspect.signature(api.build).bind(*args, **kwargs).arguments
        assert given["recipe"] == "fashion-mnist"
        shutil.copytree(bundle, given["out"])

    def bench(*args: Any, **kwargs: Any) -> Any:
        small = {"data": str(npz), "images": 6, "repeats": 1, "warmup": 0, "min_seconds": 0.0, "batches": (1,)}
        return api.bench(*args, **kwargs | small)

    monkeypatch.setattr(hardtemper, "build", build)
    monkeypatch.setattr(hardtemper, "bench", bench)
    (code,) = readme.blocks("python")
    variables: dict[str, Any] = {"images": np.zeros((3, 1, 16, 16), np.uint8)}
    exec(compile(code, "README.md", "exec"), variables)
    assert variables["logits"].shape == (3, 4)
    assert len(variables["names"]) == 3
    assert variables["checked"].parity.exact
    assert {subject.name for subject in variables["report"].subjects} == {"dense", "shipped"}
