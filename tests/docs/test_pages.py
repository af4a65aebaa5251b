"""All documents: links lead somewhere, files and modules exist, and the toolchain accepts every command."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.cli import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
Doc = Callable[[str], Any]

_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
_PATH = re.compile(r"`((?:bench|docs|examples|export|runtime|tests|toolchain)/[\w./-]+)`")
_MODULE = re.compile(r"python -m (hardtemper(?:\.[a-z_]+)*)")


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def test_links_lead_somewhere(page: Any) -> None:
    for path, anchor in _LINK.findall(page.text):
        target = page.path.parent / path if path else page.path
        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            assert anchor in slugs(target.read_text(encoding="utf-8")), f"{page.name}: {path}#{anchor}"


def test_every_page_is_in_the_index(doc: Doc) -> None:
    index = doc("docs/README.md")
    linked = {(index.path.parent / path).resolve() for path, _ in _LINK.findall(index.text)}
    there = {path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"}
    assert there <= linked
    assert ROOT / "docs" / "alarms" / "README.md" in linked


def test_files_and_modules_exist(page: Any) -> None:
    for path in _PATH.findall(page.text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
    for module in _MODULE.findall(page.text):
        assert importlib.util.find_spec(module) is not None, f"{page.name}: {module}"


class _ReachedError(Exception):
    """The build was reached with a valid recipe."""


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise _ReachedError

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.build", stop)


def test_commands_are_accepted(page: Any, no_build: None) -> None:
    """Every line of a shell block is known here; one of another kind fails instead of being skipped."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words in page.commands():
        match [word.removeprefix(".venv/bin/") for word in words]:  # a tool of the environment
            case ["toolchain", "build", *rest]:
                with pytest.raises(_ReachedError):
                    main(["build", *rest])
            case ["toolchain", name, *rest]:
                cli.commands[name].make_context(name, list(rest))
            case ["make", target]:
                assert target in targets
            case ["pip", "install", *packages]:
                _check_packages(packages, project)
            case ["python", "-m", "pytest", path]:
                assert (ROOT / path).exists()
            case ["python", "-m", module, ">", path]:
                _check_flags(module, [])
                assert (ROOT / path).exists()
            case ["python", "-m", module, *rest]:
                _check_flags(module, rest)
            case ["sha256sum", path]:
                assert path.endswith(
                    "/manifest.json"
                )  # what it prints is compared in tests/toolchain/cli/test_build.py
            case ["python", path, *_] | ["cd", path]:
                assert (ROOT / path).exists()
            case ["ruff" | "lint-imports", *_] | ["MYPYPATH=.venv/typing", "mypy", *_]:
                pass  # `make lint` runs them
            case _:
                pytest.fail(f"{page.name}: no check for {words}")


def _check_packages(packages: list[str], project: Any) -> None:
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *(name for extra in extras.values() for name in extra)]
    for package in packages:
        known = re.fullmatch(r"\.(?:\[(.*)\])?", package)
        if known:
            assert set(filter(None, (known[1] or "").split(","))) <= extras.keys()
        else:
            assert any(re.match(rf"{package}\b", name) for name in named), package


def _check_flags(module: str, words: list[str]) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    for word in words:
        assert not word.startswith("--") or f'"{word}"' in source, f"{module} {word}"


def test_toml_in_documents_is_a_recipe(page: Any, no_build: None, tmp_path: Path) -> None:
    for block in page.blocks("toml"):
        path = tmp_path / "recipe.toml"
        path.write_text(block, encoding="utf-8")
        with pytest.raises(_ReachedError):
            main(["build", "--recipe", str(path), "--out", str(tmp_path / "out")])


def test_python_in_documents_is_python(page: Any) -> None:
    for block in page.blocks("python"):
        compile(block, page.name, "exec")
