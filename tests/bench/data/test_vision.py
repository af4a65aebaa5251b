"""torchvision imports where its operators are missing, is left alone where they are not, in one place only."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import InputError

ROOT = Path(__file__).parents[3]
IMPORT = re.compile(r"""^\s*(import|from)\s+torchvision\b|import_module\(["']torchvision""", re.MULTILINE)


def test_one_file_imports_torchvision() -> None:
    folders = ("bench", "export", "runtime", "toolchain", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert Path(__file__) in files
    importing = [path for path in files if IMPORT.search(path.read_text(encoding="utf-8"))]
    assert importing == [ROOT / "bench" / "data" / "vision.py"]


def test_it_works_on_this_machine() -> None:
    package = torchvision()
    assert package is torchvision()
    assert package is sys.modules["torchvision"]
    logits = package.models.get_model("squeezenet1_1", weights=None, num_classes=4).eval()(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 4)
    assert hasattr(torch.ops.torchvision, "nms")


# A package that behaves as torchvision does beside another build of torch: at import it gives a fake to operators that
# may not exist. It counts its imports on the torch module, which outlives them.
FAKE = """
import torch
torch.imports = getattr(torch, "imports", 0) + 1
from . import first
{body}
from . import last
"""
REGISTER = 'torch.library.register_fake("torchvision::{name}")(lambda dets, scores, iou_threshold: scores)'
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from hardtemper.bench.data import vision
from hardtemper.runtime.errors import HardtemperError
try:
    package = vision.torchvision()
    assert package.__file__.startswith(sys.argv[1])
    print("imports", torch.imports, "modules", sorted(name for name in sys.modules if name.startswith("torchvision.")))
    print("declared", [name for name in ("nms", "qnms") if hasattr(torch.ops.torchvision, name)])
except HardtemperError as error:
    print(type(error).__name__, torch.imports, error)
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (["nms", "qnms"], "imports 3 modules ['torchvision.first', 'torchvision.last']\ndeclared ['nms', 'qnms']"),
        (["qnms"], "imports 2 modules ['torchvision.first', 'torchvision.last']\ndeclared ['qnms']"),
        ([], "imports 1 modules ['torchvision.first', 'torchvision.last']\ndeclared []"),
        (["nms", "unheard_of"], "InputError 2 torchvision is installed but cannot be imported; got: operator"),
    ],
    ids=["both missing", "one missing", "healthy", "unknown operator"],
)
def test_missing_operators_are_declared(tmp_path: Path, body: list[str], expected: str) -> None:
    assert run(tmp_path, "\n".join(REGISTER.format(name=name) for name in body)).startswith(expected)


def test_another_failure_is_an_error_and_not_retried(tmp_path: Path) -> None:
    output = run(tmp_path, "raise RuntimeError('compiled with different CUDA major versions')")
    assert output.startswith(f"{InputError.__name__} 1 torchvision is installed but cannot be imported")
    assert "different CUDA major versions; fix: install" in output


def test_a_missing_package_names_the_install_command() -> None:
    child = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from hardtemper.bench.data.vision import torchvision\n"
        "torchvision()"
    )
    result = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False, timeout=120)
    assert "MissingExtraError" in result.stderr
    assert "pip install 'hardtemper[build]'" in result.stderr


def run(folder: Path, body: str) -> str:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE.format(body=body))
    for name in ("first", "last"):
        (package / f"{name}.py").write_text("")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()
