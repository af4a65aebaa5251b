"""Data sets from the user's own code, and clean errors where that code fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardtemper.bench.data.factory import as_reference, call_factory, is_reference, load_factory
from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.errors import DataError, ModelError

MODULE = """
import numpy as np

def arrays():
    return {
        "train_images": np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4),
        "train_labels": np.arange(6) % 2,
        "test_images": np.zeros((2, 4, 4), np.uint8),
        "test_labels": np.arange(2),
    }

class Holder:
    def __init__(self):
        vars(self).update(arrays(), classes=["no", "yes"])

class Space:
    make = staticmethod(arrays)

def tensors():
    import torch
    return {key: torch.from_numpy(value) for key, value in arrays().items()}

def nothing(): return None
def incomplete(): return {"train_images": arrays()["train_images"]}
def failing(): raise ZeroDivisionError("by zero")
def leaving(): raise SystemExit(0)
def needs(argument): return argument
number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "users_own_data"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "users_broken.py").write_text("raise KeyError('at import')")
    (tmp_path / "users_syntax.py").write_text("def f(:")
    (tmp_path / "users_leaving.py").write_text("import sys; sys.exit()")
    (tmp_path / "users_lacking.py").write_text("import a_module_that_is_absent")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = list(sys.path)
    yield name
    assert sys.path == before
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("users_")]:
        del sys.modules[loaded]


@pytest.mark.parametrize("factory", ["arrays", "Space.make", "tensors"])
def test_a_mapping(module: str, factory: str) -> None:
    splits = load_factory(f"{module}:{factory}")
    assert splits.classes == ("0", "1")
    assert splits.train_images.shape == (6, 1, 4, 4)
    assert splits.train_images[5, 0, 3, 3] == 95
    assert (splits.name, splits.source) == (factory, f"{module}:{factory}")


def test_an_object(module: str) -> None:
    assert load_factory(f"{module}:Holder").classes == ("no", "yes")


def test_through_the_dispatcher(module: str) -> None:
    dataset = load_dataset(f"{module}:arrays", heldout=1, calibration=1, image_size=2)
    assert dataset.input_shape == (1, 2, 2)
    assert len(dataset.train) == 4
    assert np.array_equal(np.sort(np.concatenate([dataset.train.indices, dataset.heldout.indices,
                                                  dataset.calibration.indices])), np.arange(6))  # fmt: skip


BAD = {
    "absent_module:f": "no module named 'absent_module'; .*; fix: install its package, or run in the folder",
    "users_own_data.sub:f": "no module named 'users_own_data.sub'",
    "users_lacking:f": "users_lacking needs a module that is not installed; got: No module named 'a_module_that",
    "users_broken:f": "importing users_broken failed; got: KeyError: 'at import'",
    "users_syntax:f": "importing users_syntax failed; got: SyntaxError",
    "users_leaving:f": "importing users_leaving failed; got: SystemExit$",
    "users_own_data:leaving": "users_own_data:leaving failed; got: SystemExit: 0$",
    "users_own_data.py:arrays": "users_own_data.py is a file; .*; fix: write 'users_own_data:arrays'$",
    "users_own_data:absent": "users_own_data has no 'absent'",
    "users_own_data:Space.absent": "users_own_data has no 'Space.absent'",
    "users_own_data:number": "cannot be called; expected: a factory; got: int",
    "users_own_data:failing": "users_own_data:failing failed; got: ZeroDivisionError: by zero",
    "users_own_data:needs": "users_own_data:needs failed; got: TypeError",
    "users_own_data:nothing": "did not return a data set; expected: a mapping .*; got: NoneType",
    "users_own_data:incomplete": "users_own_data:incomplete lacks train_labels, test_images, test_labels",
}


@pytest.mark.parametrize("reference", BAD)
def test_failures_are_told(reference: str) -> None:
    with pytest.raises(DataError, match=BAD[reference]):
        load_factory(reference)


def test_a_file_is_not_imported() -> None:
    with pytest.raises(DataError, match=r"users_own_data\.py is a file"):
        load_factory("users_own_data.py:arrays")
    assert "users_own_data" not in sys.modules


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("mine.py:net", "write 'mine:net'"),
        ("./mine:net", "write 'mine:net'"),
        ("./mine.py:Nets.small", "write 'mine:Nets.small'"),
        ("nets/mine.py:net", "write 'nets.mine:net'"),
        ("../nets/mine.py:net", "write 'mine:net' and run in ../nets"),
        ("/a/b/mine.py:net", "write 'mine:net' and run in /a/b"),
        ("mine.py", ""),
        ("./mine", ""),
        ("./my-net.py:net", ""),
        ("https://a.b/c", ""),
        ("C:\\data", ""),
        (":", ""),
        ("", ""),
    ],
)
def test_files_as_references(text: str, fix: str) -> None:
    assert as_reference(text) == fix


def test_the_caller_chooses_the_error(module: str) -> None:
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        call_factory(f"{module}:failing", ModelError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:b", True),
        ("a.b_c:D.e1", True),
        ("größe:f", True),
        ("a", False),
        ("a:", False),
        (":b", False),
        ("a/b:c", False),
        ("C:\\data", False),
        ("1a:b", False),
        ("a..b:c", False),
        ("a:b:c", False),
        ("a:b ", False),
    ],
)
def test_references(text: str, expected: bool) -> None:
    assert is_reference(text) is expected
