"""The package as a whole: what a wheel holds, what an import loads, and what each module makes public."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hardtemper

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FLOORS = ("runtime", "export", "bench", "toolchain")
NO_PACKAGE = {"tests", "build", "dist", "out"}
HEAVY = ("torch", "onnx", "pydantic", "click", "rich", "scipy", "torchvision", "PIL")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders() -> Iterator[Path]:
    """Every folder of the package, relative to the root."""
    for parent, inner, files in os.walk(ROOT):
        inner[:] = sorted(name for name in inner if name not in NO_PACKAGE and not name.startswith((".", "_")))
        inner[:] = [name for name in inner if not name.endswith((".egg-info", ".bundle", ".work"))]
        if "__init__.py" in files:
            yield Path(parent).relative_to(ROOT)


def sources() -> list[Path]:
    """Every Python file of the package, relative to the root."""
    return [path.relative_to(ROOT) for folder in folders() for path in sorted((ROOT / folder).glob("*.py"))]


def module_name(path: Path) -> str:
    return ".".join(("hardtemper", *path.with_suffix("").parts)).removesuffix(".__init__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel, built from a copy of the tree tests included."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("source") / "hardtemper"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "out", "*.egg-info", "__pycache__", "*.work")
    )
    (copy / "toolchain" / "recipes" / "notes.txt").write_text("no recipe\n")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy.parent), str(copy)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = copy.parent.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: list[str], project: dict[str, Any]) -> None:
    recipes = [
        path.relative_to(ROOT)
        for folder in ("recipes", "study_files")
        for path in (ROOT / "toolchain" / folder).glob("*.toml")
    ]
    expected = {f"hardtemper/{path.as_posix()}" for path in [*sources(), *recipes, Path("py.typed")]}
    info = f"hardtemper-{project['project']['version']}.dist-info"
    assert {name for name in wheel if not name.startswith(info)} == expected
    assert {f"{info}/{name}" for name in ("METADATA", "RECORD", "licenses/LICENSE", "entry_points.txt")} <= set(wheel)
    assert len(recipes) >= 3


def test_the_packages_are_named(project: dict[str, Any]) -> None:
    found = {".".join(("hardtemper", *folder.parts)) for folder in folders()}
    assert project["tool"]["setuptools"]["packages"] == sorted(found)
    assert set(FLOORS) <= {folder.as_posix() for folder in folders()}


def test_no_folder_with_python_files_was_forgotten() -> None:
    packages = {ROOT / folder for folder in folders()}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            assert path.parent in packages, f"{path.parent} has no __init__.py"


def test_the_root_holds_one_module() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]


def test_the_version(project: dict[str, Any]) -> None:
    assert hardtemper.__version__ == project["project"]["version"]


def test_the_public_face() -> None:
    from hardtemper.runtime import engine

    assert hardtemper.load is engine.load
    assert hardtemper.Engine is engine.Engine
    with pytest.raises(AttributeError, match="module 'hardtemper' has no attribute 'laod'"):
        hardtemper.laod  # noqa: B018


_BENCH = """
import hardtemper.toolchain.api as api
api.bench = lambda target, **options: (target, options)
assert hardtemper.bench("x", images=3) == ("x", {"images": 3})
"""


@pytest.mark.parametrize(
    "first",
    [
        "import hardtemper",
        "import hardtemper.bench.settings",
        "import hardtemper; hardtemper.bench; import hardtemper.bench.settings",
        "import hardtemper; from hardtemper import bench; assert bench is hardtemper.bench",
        "from hardtemper import bench; import hardtemper",
        "import importlib, hardtemper; importlib.import_module('hardtemper.bench.settings')",
        "import hardtemper.bench as b, hardtemper; assert b is hardtemper.bench",
    ],
)
def test_bench_is_a_folder_and_a_function(first: str) -> None:
    """In whatever order the folder is imported and the function called."""
    code = first + _BENCH + "from hardtemper.bench import settings; assert hardtemper.bench.settings is settings"
    code += _BENCH  # and once more, behind the import
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_in_bench_can_be_replaced_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardtemper.bench.settings.default_threat", None)
    from hardtemper.bench import settings

    assert settings.default_threat is None


def test_a_missing_module_of_bench_is_said_so() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"hardtemper\.bench\.nothing"):
        importlib.import_module("hardtemper.bench.nothing")


@pytest.mark.parametrize(
    "statement",
    [
        "import hardtemper",
        "import hardtemper.runtime.engine",
        "hardtemper.load",
        "hardtemper.build",
        "hardtemper.bench",
    ],
)
def test_the_runtime_is_light(statement: str) -> None:
    code = f"import sys, hardtemper; {statement}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def imported(path: Path) -> Iterator[str]:
    """Top-level names of the absolute imports in a file, wherever they stand."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


def climbs(path: Path) -> Iterator[str]:
    """Relative imports that leave the file's floor, as the floor that they reach ("" for the package itself)."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = path.parent.parts
            if node.level > len(parts):
                yield str(node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", [path for path in sources() if path.parts[0] == "runtime"], ids=str)
def test_the_runtime_imports_numpy_and_onnxruntime_only(path: Path) -> None:
    # imported where it is needed alone: test_the_runtime_does_without_jaxtyping, tests/runtime/files/test_onnx_file.py,
    # tests/runtime/backends/test_installed.py
    optional = {"shapes.py": {"jaxtyping"}, "onnx_file.py": {"onnx"}, "openvino.py": {"openvino"}}.get(path.name, set())
    assert set(imported(path)) <= {*sys.stdlib_module_names, "numpy", "onnxruntime", *optional}
    assert set(climbs(path)) <= {"runtime"}


@pytest.mark.parametrize("path", sources(), ids=str)
def test_imports_within_the_package_are_relative(path: Path) -> None:
    assert "hardtemper" not in set(imported(path))


@pytest.mark.parametrize("path", sources(), ids=str)
def test_what_is_public_is_named_and_exists(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    assert isinstance(module.__all__, list)
    assert module.__all__ == sorted(set(module.__all__), key=_ruffs_order)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert module.__doc__


def _ruffs_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as ruff sorts `__all__`."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def test_the_command_is_there(project: dict[str, Any]) -> None:
    module, _, function = project["project"]["scripts"]["toolchain"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_extras_name_what_the_code_imports(project: dict[str, Any]) -> None:
    """Every package that is imported anywhere is installed by some extra."""
    extras = [name for names in project["project"]["optional-dependencies"].values() for name in names]
    named = {name.partition(";")[0].split(">")[0].strip().replace("-", "_") for name in extras}
    modules = {"scikit_learn": "sklearn"}
    named = {modules.get(name, name) for name in named} | {"numpy", "onnxruntime", "PIL", *sys.stdlib_module_names}
    studies = {"autoattack", "art", "timm"}  # peers: a checkout (--autoattack), the extra dev's, and installed by hand
    for path in sources():
        others = studies if path.parts[:2] == ("toolchain", "studies") else set()
        assert set(imported(path)) <= named | others, path
