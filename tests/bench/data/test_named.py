"""Named data sets, on small files in the true on-disk formats and on the real Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io

from hardtemper.bench.data import named
from hardtemper.bench.data.load import load_dataset
from hardtemper.bench.data.named import NAMES, load_named
from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, no $HARDTEMPER_DATA: only what a test writes is found, and Debian's folder where it says so."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("HARDTEMPER_DATA", raising=False)
    return folder


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    fashion = named._SETS["fashion-mnist"]
    options = {field: getattr(fashion, field) for field in fashion.__dataclass_fields__}
    monkeypatch.setitem(named._SETS, "fashion-mnist", type(fashion)(**options | {"system": Path("/absent/debian")}))


def write_idx(folder: Path, *, first: int = 0, suffix: str = ".gz", n: int = 6, m: int = 4) -> Path:
    """The four files of MNIST; the first pixel of every image is `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", n), ("t10k", m)):
        images = np.full((count, 5, 4), 9, np.uint8)
        images[:, 0, 0] = first
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            path = folder / f"{split}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(data) if suffix else data)
    return folder


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the package dataset-fashion-mnist: apt-get install it")
def test_the_real_fashion_mnist_is_found_without_a_flag() -> None:
    dataset = load_dataset("fashion-mnist")
    assert dataset.source == str(DEBIAN)
    assert dataset.input_shape == (1, 28, 28)
    assert (len(dataset.train), len(dataset.heldout), len(dataset.calibration)) == (58488, 1000, 512)
    assert dataset.test.images.shape == (10000, 1, 28, 28)
    labels = np.concatenate([part.labels for part in (dataset.train, dataset.heldout, dataset.calibration)])
    assert np.bincount(labels).tolist() == [6000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert dataset.classes[9] == "Ankle boot"
    assert dataset.test.labels[:4].tolist() == [9, 2, 1, 1]  # an ankle boot, a pullover and two trousers come first
    # the mean and std of the training pixels that everyone normalizes with
    splits = load_named("fashion-mnist")
    assert splits.train_images.shape == (60000, 1, 28, 28)
    assert splits.train_images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert splits.train_images.std() / 255 == pytest.approx(0.3530, abs=5e-5)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw", "."])
def test_mnist_below_a_root(tmp_path: Path, layout: str, suffix: str) -> None:
    write_idx(tmp_path / "root" / layout, first=3, suffix=suffix)
    splits = load_named("mnist", root=tmp_path / "root")
    assert splits.train_images.shape == (6, 1, 5, 4)
    assert splits.test_images.shape == (4, 1, 5, 4)
    assert splits.train_images[0, 0, 0].tolist() == [3, 9, 9, 9]
    assert splits.classes == tuple("0123456789")


def test_the_order_of_the_places(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, no_debian: None) -> None:
    root, environment, debian = tmp_path / "root", tmp_path / "environment", tmp_path / "debian"
    places = [
        write_idx(root / "fashion-mnist"),
        write_idx(environment / "FashionMNIST" / "raw"),
        write_idx(debian),
        write_idx(home / ".cache" / "hardtemper" / "fashion-mnist"),
    ]
    monkeypatch.setenv("HARDTEMPER_DATA", str(environment))
    fashion = named._SETS["fashion-mnist"]
    options = {field: getattr(fashion, field) for field in fashion.__dataclass_fields__}
    monkeypatch.setitem(named._SETS, "fashion-mnist", type(fashion)(**options | {"system": debian}))
    for place in places:
        assert load_named("fashion-mnist", root=root).source == str(place)
        for file in place.iterdir():
            file.unlink()


def test_bare_files_count_only_in_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_debian: None) -> None:
    """MNIST and Fashion-MNIST have the same file names: a folder for all data must not pass one off as the other."""
    write_idx(tmp_path / "data")
    monkeypatch.setenv("HARDTEMPER_DATA", str(tmp_path / "data"))
    for name in ("mnist", "fashion-mnist"):
        with pytest.raises(DataError, match="was not found"):
            load_named(name)
        assert load_named(name, root=tmp_path / "data").source == str(tmp_path / "data")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_told(name: str, tmp_path: Path, home: Path, no_debian: None) -> None:
    with pytest.raises(DataError, match=f"the data set {name!r} was not found") as caught:
        load_named(name, root=tmp_path / "root")
    error = caught.value
    for place in (tmp_path / "root" / name, home / ".cache" / "hardtemper" / name):
        assert str(place) in error.expected
    assert "--download" in error.fix
    assert ("apt-get install dataset-fashion-mnist" in error.fix) == (name == "fashion-mnist")
    assert ("/absent/debian" in error.expected) == (name == "fashion-mnist")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("~nosuchuser/x", "~nosuchuser/x: no such home folder"),
        ("x" * 300, "the data set 'mnist' was not found"),
    ],
)
def test_a_root_that_cannot_be(root: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=message):
        load_named("mnist", root=Path(root))
    monkeypatch.setenv("HARDTEMPER_DATA", root)
    with pytest.raises(DataError, match=message):
        load_named("mnist")


@pytest.mark.parametrize("name", NAMES)
def test_the_classes_that_ship_differ(name: str) -> None:
    """CIFAR's come with its files."""
    classes = named._SETS[name].classes
    assert len(classes) == len(set(classes)) == (0 if name.startswith("cifar") else 10)


def test_an_incomplete_folder_is_told(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="mnist holds only some of the files"):
        load_named("mnist", root=tmp_path)


def test_damaged_and_inconsistent_files_are_told(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist")
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: not a whole gzip file"):
        load_named("mnist", root=tmp_path)
    path.write_bytes((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(DataError, match="mnist: train labels do not match the images"):
        load_named("mnist", root=tmp_path)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """SVHN's .mat files: X [32, 32, 3, N], y [N, 1] with 10 for the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    cls = torchvision().datasets.SVHN
    truth = {}
    sums = dict(cls.split_list)
    for split, count in (("train", 12), ("test", 5)):
        pixels = RNG.integers(0, 256, (32, 32, 3, count), np.uint8)
        digits = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        path = root / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": digits})
        sums[split] = [sums[split][0], path.name, md5(path)]
        truth[split] = pixels, digits
    monkeypatch.setattr(cls, "split_list", sums)
    return truth


@pytest.mark.parametrize("layout", [".", "svhn"])
def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    truth = write_svhn(tmp_path / layout, monkeypatch)
    splits = load_named("svhn", root=tmp_path)
    assert splits.classes == tuple("0123456789")
    assert splits.train_labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    np.testing.assert_array_equal(splits.train_images[3].transpose(1, 2, 0), truth["train"][0][..., 3])
    np.testing.assert_array_equal(splits.test_images[4].transpose(1, 2, 0), truth["test"][0][..., 4])


def test_svhn_files_with_another_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path, monkeypatch)
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"the files of 'svhn' in .* are damaged or incomplete"):
        load_named("svhn", root=tmp_path)


def test_a_download_lands_in_the_root_or_the_cache(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def download(self: Any) -> None:
        calls.append(self.root)
        write_idx(Path(self.raw_folder), suffix="")

    monkeypatch.setattr(torchvision().datasets.MNIST, "download", download)
    cache, root = home / ".cache" / "hardtemper", tmp_path / "root"
    assert load_named("mnist", download=True).source == str(cache / "MNIST" / "raw")
    assert load_named("mnist", download=True).source == str(cache / "MNIST" / "raw")
    assert calls == [str(cache)]  # what is there is not downloaded again
    for file in (cache / "MNIST" / "raw").iterdir():
        file.unlink()
    assert load_named("mnist", root=root, download=True).source == str(root / "MNIST" / "raw")
    assert calls == [str(cache), str(root)]


@pytest.mark.parametrize("failure", [URLError("no network"), RuntimeError("File not found or corrupted."), OSError(28)])
@pytest.mark.parametrize(("name", "cls"), [("mnist", "MNIST"), ("cifar10", "CIFAR10"), ("svhn", "SVHN")])
def test_a_failed_download_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cls: str, failure: Exception
) -> None:
    def download(self: Any) -> None:
        raise failure

    monkeypatch.setattr(getattr(torchvision().datasets, cls), "download", download)
    with pytest.raises(DataError, match=f"downloading {name!r} to .* failed; got: {type(failure).__name__}"):
        load_named(name, root=tmp_path / "root", download=True)
