"""The dispatcher: which reader a word reaches, and what it says to a wrong word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.data import load
from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.errors import DataError


class Reached(Exception):  # noqa: N818
    """Which reader was called, with what."""


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("load_named", "load_folder", "load_npz", "load_factory"):

        def reached(*args: object, _name: str = name, **options: object) -> None:
            raise Reached(_name, *args, options)

        monkeypatch.setattr(load, name, reached)
    for name in ("mnist", "pets", "cifar-10"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "reader"),
    [
        ("fashion-mnist", "load_named"),
        ("mnist", "load_named"),  # although a folder of that name is there
        ("cifar10", "load_named"),
        ("./mnist", "load_folder"),
        ("pets", "load_folder"),
        ("cifar-10", "load_folder"),
        ("pets.npz", "load_npz"),
        ("deep/pets.npz", "load_npz"),
        ("package.module:factory", "load_factory"),
    ],
)
def test_words_reach_their_reader(readers: Path, word: str, reader: str) -> None:
    with pytest.raises(Reached) as caught:
        load_dataset(word)
    assert caught.value.args[0] == reader


def test_options_reach_their_reader(readers: Path) -> None:
    with pytest.raises(Reached) as caught:
        load_dataset("svhn", root=readers, download=True)
    assert caught.value.args == ("load_named", "svhn", {"root": readers, "download": True})
    with pytest.raises(Reached) as caught:
        load_dataset("pets", image_size=24)
    assert caught.value.args == ("load_folder", Path("pets"), {"image_size": 24, "class_order": "name", "like": ()})
    with pytest.raises(Reached) as caught:
        load_dataset("pets", like=("b", "a"))
    assert caught.value.args[-1] == {"image_size": None, "class_order": "name", "like": ("b", "a")}
    with pytest.raises(Reached) as caught:
        load_dataset("pets", class_order="natural", like=("b", "a"))  # what the user says counts
    assert caught.value.args[-1] == {"image_size": None, "class_order": "natural", "like": ()}


@pytest.mark.parametrize("word", ["fashion-mnist", "pets.npz", "package.module:factory"])
def test_only_folders_have_an_order(readers: Path, word: str) -> None:
    with pytest.raises(DataError, match=f"{word} takes no --class-order; expected: this only with a folder of images"):
        load_dataset(word, class_order="natural")
    with pytest.raises(Reached):
        load_dataset(word, like=("b", "a"))


def test_remarks(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(6, 2, 1)
    part = {"train_images": images, "train_labels": np.arange(6) % 3}
    classes = ["a", "b", "c", "d"]
    np.savez(
        tmp_path / "x.npz", **part, test_images=images[1:4],
        test_labels=np.array([0, 0, 1]), classes=classes,
    )  # fmt: skip
    dataset = load_dataset(str(tmp_path / "x.npz"), heldout=1, calibration=1)
    assert dataset.notes == (
        "1 of 4 classes have no training image: d",
        "2 of 4 classes have no test image: c, d",
        "3 of 3 test images are training images too, pixel for pixel",
    )
    np.savez(tmp_path / "y.npz", **part, test_images=images[:3] + np.uint8(100), test_labels=np.arange(3))
    assert load_dataset(str(tmp_path / "y.npz"), heldout=1, calibration=1).notes == ()


@pytest.mark.parametrize("word", ["pets", "pets.npz", "package.module:factory"])
@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"root": Path("r")}, ["--data-root"]),
        ({"download": True}, ["--download"]),
        ({"root": Path("r"), "download": True}, ["--data-root", "--download"]),
    ],
)
def test_only_names_have_a_root_and_are_downloaded(
    readers: Path, word: str, options: dict[str, Any], flags: list[str]
) -> None:
    with pytest.raises(DataError, match="expected: these only with fashion-mnist, ") as caught:
        load_dataset(word, **options)
    assert caught.value.what == f"{word} takes no {' and no '.join(flags)}"
    assert caught.value.fix == f"leave {' and '.join(flags)} out"
    with pytest.raises(DataError, match="did you mean 'svhn'"):
        load_dataset("svnh", **options)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST", "fashion-mnist"),
        ("MNIST", "mnist"),
        ("cifar-10", "cifar10"),
        ("CIFAR100", "cifar100"),
        ("svnh", "svhn"),
    ],
)
def test_unknown_names_get_the_nearest(word: str, near: str) -> None:
    with pytest.raises(DataError, match=f"unknown data set {word!r}") as caught:
        load_dataset(word)
    assert caught.value.fix == f"did you mean {near!r}?"
    assert "fashion-mnist, mnist, cifar10, cifar100, svhn, a folder" in caught.value.expected


def test_names_near_to_nothing() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("xyzzy")
    assert caught.value.fix == ""


def test_paths_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got: no such file or folder"):
        load_dataset(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="got: no such file or folder"):
        load_dataset(f"{tmp_path}/{'x' * 5000}")
    with pytest.raises(DataError, match="unknown data set 'xxx"):
        load_dataset("x" * 300)
    with pytest.raises(DataError, match="~nosuchuser/x: no such home folder"):
        load_dataset("~nosuchuser/x")
    with pytest.raises(DataError, match=r"got: no such file or folder; fix: write 'nets\.mine:arrays'"):
        load_dataset("nets/mine.py:arrays")
    with pytest.raises(DataError, match=r"unknown data set '\./mine:arrays'; .*; fix: write 'mine:arrays'"):
        load_dataset("./mine:arrays")
    file = tmp_path / "data.csv"
    file.write_text("1,2")
    with pytest.raises(DataError, match="got: a file of another kind"):
        load_dataset(str(file))


def test_no_framework_is_imported_before_it_is_needed() -> None:
    child = "import sys, hardtemper.bench.data.load; print({'torch', 'torchvision', 'PIL', 'scipy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "set()"
