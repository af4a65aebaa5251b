"""CIFAR's batches, on small files in the true on-disk format."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.data import cifar
from hardtemper.bench.data.load import load_dataset
from hardtemper.bench.data.named import load_named
from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import DataError

RNG = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch, *, n: int = 4) -> dict[str, np.ndarray]:
    """CIFAR's batches: pickled dictionaries of protocol 2, pixels as rows of 1024 red, 1024 green, 1024 blue.

    torchvision compares the files with the MD5 sums of the real ones; here it is given the sums of these files.
    """
    cls = getattr(torchvision().datasets, {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}[name])
    folder = root / cls.base_folder
    folder.mkdir(parents=True)
    classes = 10 if name == "cifar10" else 100
    truth: dict[str, Any] = {"train": [], "test": []}
    sums: dict[str, list[list[str]]] = {"train": [], "test": []}
    for split, files in (("train", cls.train_list), ("test", cls.test_list)):
        for file, _ in files:
            rows = RNG.integers(0, 256, (n, 3072), np.uint8)
            labels = RNG.integers(0, classes, n).tolist()
            batch = {"data": rows, "filenames": [f"{i}.png" for i in range(n)], "batch_label": file}
            batch |= {"labels": labels} if classes == 10 else {"fine_labels": labels, "coarse_labels": [0] * n}
            (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
            sums[split].append([file, md5(folder / file)])
            truth[split].append((rows, labels))
    meta = folder / cls.meta["filename"]
    meta.write_bytes(pickle.dumps({cls.meta["key"]: [f"class{k}" for k in range(classes)]}, protocol=2))
    monkeypatch.setattr(cls, "train_list", sums["train"])
    monkeypatch.setattr(cls, "test_list", sums["test"])
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5(meta)})
    return {
        f"{split}_{kind}": np.concatenate([batch[index] for batch in batches])
        for split, batches in truth.items()
        for index, kind in enumerate(("images", "labels"))
    }


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("layout", [".", "{name}"])
def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layout: str) -> None:
    truth = write_cifar(tmp_path / layout.format(name=name), name, monkeypatch)
    splits = load_named(name, root=tmp_path)
    assert splits.classes == tuple(f"class{k}" for k in range({"cifar10": 10, "cifar100": 100}[name]))
    assert splits.train_images.shape == ({"cifar10": 5 * 4, "cifar100": 4}[name], 3, 32, 32)
    np.testing.assert_array_equal(splits.train_images, truth["train_images"].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(splits.test_images, truth["test_images"].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(splits.train_labels, truth["train_labels"])
    np.testing.assert_array_equal(splits.test_labels, truth["test_labels"])
    dataset = load_dataset(name, root=tmp_path, heldout=1, calibration=1)
    assert dataset.input_shape == (3, 32, 32)


def test_cifar_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, "cifar10", monkeypatch)
    monkeypatch.setenv("HARDTEMPER_DATA", str(tmp_path))
    assert load_named("cifar10").source == str(tmp_path)


def test_cifar_files_with_another_sum_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, "cifar10", monkeypatch)
    trap, batch = tmp_path / "sprung", tmp_path / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(DataError, match=r"damaged or incomplete; .*; fix: remove cifar-10-batches-py there"):
        load_named("cifar10", root=tmp_path)
    assert not trap.exists()
    batch.unlink()
    with pytest.raises(DataError, match="damaged or incomplete"):
        load_named("cifar10", root=tmp_path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are swapped behind the sum are not those that are unpickled."""
    truth, trap = write_cifar(tmp_path, "cifar10", monkeypatch), tmp_path / "sprung"
    read = cifar.read_regular

    def swapped(path: Path) -> bytes:
        content = read(path)
        path.write_bytes(pickle.dumps(Trap(trap)))
        return content

    monkeypatch.setattr(cifar, "read_regular", swapped)
    np.testing.assert_array_equal(load_named("cifar10", root=tmp_path).test_labels, truth["test_labels"])
    assert not trap.exists()
