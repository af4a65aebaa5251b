"""Folders of images in torchvision's layout, compared with what torchvision's ImageFolder reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from hardtemper.bench.data import folder, physical_memory
from hardtemper.bench.data.folder import load_folder
from hardtemper.bench.data.load import load_dataset
from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import DataError

RNG = np.random.default_rng(0)


def save(path: Path, *, mode: str = "RGB", size: tuple[int, int] = (9, 7), **options: Any) -> np.ndarray:
    """A random image; its pixels as [H, W, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = PIL.Image.fromarray(pixels).convert(mode)
    image.save(path, **options)
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pets = tmp_path / "pets"
    for split, count in (("train", 3), ("test", 2)):
        for name in ("dog", "cat"):
            for index in range(count):
                save(pets / split / name / f"{index}.png")
    return pets


def test_the_same_as_torchvisions_image_folder(root: Path) -> None:
    save(root / "train" / "cat" / "deeper" / "9.JPG", format="JPEG")
    splits = load_folder(root)
    for split, images, labels in (
        ("train", splits.train_images, splits.train_labels),
        ("test", splits.test_images, splits.test_labels),
    ):
        oracle = torchvision().datasets.ImageFolder(str(root / split))
        assert list(splits.classes) == oracle.classes == ["cat", "dog"]
        assert len(oracle) == len(images)
        for image, label, (expected, target) in zip(images, labels, oracle, strict=True):
            np.testing.assert_array_equal(image.transpose(1, 2, 0), np.asarray(expected))
            assert label == target
    assert splits.name == "pets"


def test_through_the_dispatcher(root: Path) -> None:
    dataset = load_dataset(str(root), heldout=2, calibration=1, image_size=6)
    assert dataset.input_shape == (3, 6, 6)
    assert (len(dataset.train), len(dataset.test)) == (3, 4)
    transforms = torchvision().transforms
    rule = transforms.Compose([transforms.Resize(6), transforms.CenterCrop(6)])
    with PIL.Image.open(root / "test" / "cat" / "0.png") as image:
        np.testing.assert_array_equal(dataset.test.images[0].transpose(1, 2, 0), np.asarray(rule(image)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_a_class_folder_that_is_no_utf8(root: Path) -> None:
    (root / "train" / "dog").rename(os.fsdecode(bytes(root / "train") + b"/caf\xe9"))
    (root / "test" / "dog").rename(os.fsdecode(bytes(root / "test") + b"/caf\xe9"))
    with pytest.raises(DataError, match=r"pets: class 0 has no name that can be written; .*; got: 'caf\\udce9'"):
        load_folder(root)


def test_val_stands_for_test_where_there_is_none(root: Path) -> None:
    (root / "test").rename(root / "val")
    assert len(load_folder(root).test_labels) == 4
    save(root / "test" / "cat" / "0.png")
    assert len(load_folder(root).test_labels) == 1


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("LA", "png"), ("1", "png"), ("L", "pgm"), ("L", "bmp"), ("L", "tif")]
)
def test_gray_sets_have_one_channel(tmp_path: Path, mode: str, suffix: str) -> None:
    expected = save(tmp_path / "train" / "a" / f"0.{suffix}", mode=mode)
    save(tmp_path / "train" / "b" / f"0.{suffix}", mode=mode)
    save(tmp_path / "test" / "a" / f"0.{suffix}", mode=mode)
    splits = load_folder(tmp_path)
    assert splits.train_images.shape == (2, 1, 7, 9)
    np.testing.assert_array_equal(splits.train_images[0, 0], expected[:, :, 0])


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("P", "gif"), ("RGB", "webp"), ("CMYK", "tif")]
)
def test_one_colour_image_makes_all_of_them_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    gray = save(tmp_path / "train" / "a" / "0.png", mode="L")
    options = {"lossless": True} if suffix == "webp" else {}
    expected = save(tmp_path / "train" / "b" / f"0.{suffix}", mode=mode, **options)
    save(tmp_path / "test" / "a" / "0.png", mode="L")
    splits = load_folder(tmp_path)
    assert splits.train_images.shape == (2, 3, 7, 9)
    np.testing.assert_array_equal(splits.train_images[0].transpose(1, 2, 0), gray)
    np.testing.assert_array_equal(splits.train_images[1].transpose(1, 2, 0), expected)


def test_transparent_palettes_do_not_warn(tmp_path: Path) -> None:
    for place in ("train/a/0.png", "train/b/0.png", "test/a/0.png"):
        save(tmp_path / place, mode="P", transparency=bytes(range(256)))
    assert load_folder(tmp_path).train_images.shape == (2, 3, 7, 9)


def test_a_class_without_test_images_shifts_nothing(root: Path) -> None:
    for file in (root / "test" / "cat").iterdir():
        file.unlink()
    (root / "test" / "cat").rmdir()
    assert load_folder(root).test_labels.tolist() == [1, 1]


def test_hidden_and_other_files_are_not_looked_at(root: Path) -> None:
    for name in ("Thumbs.db", ".0.png", "readme.txt", ".cache/0.png"):
        path = root / "train" / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")
    (root / "train" / ".git").mkdir()
    splits = load_folder(root)
    assert splits.classes == ("cat", "dog")
    assert len(splits.train_labels) == 6
    assert splits.notes == ("files left out: 3 hidden, 1 ending in .db, 1 ending in .txt",)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60:70] = bytes(10)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage", [truncate, flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"<html></html>")]
)
def test_corrupt_images_are_named(root: Path, damage: Any) -> None:
    path = root / "test" / "dog" / "1.png"
    damage(path)
    with pytest.raises(DataError, match="cannot be decoded; expected: a whole image file") as caught:
        load_folder(root)
    assert str(path) in caught.value.what
    assert caught.value.fix


def test_images_of_several_sizes_need_an_image_size(root: Path) -> None:
    path = root / "test" / "dog" / "1.png"
    save(path, size=(20, 11))
    with pytest.raises(DataError, match=r"differ in size; expected: 9 x 7 .*; got: 20 x 11 .*; fix: give an"):
        load_folder(root)
    assert load_folder(root, image_size=5).test_images.shape == (4, 3, 5, 5)


def test_channels_wider_than_sixteen_bits_are_refused(root: Path) -> None:
    PIL.Image.fromarray(np.zeros((7, 9), np.float32)).save(root / "train" / "dog" / "1.tif")
    with pytest.raises(DataError, match=r"1.tif is not an 8-bit image; .* got: mode F"):
        load_folder(root)


def test_images_that_do_not_fit_into_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physical_memory, "physical_bytes", lambda: 1000)
    monkeypatch.setattr(folder, "read_pixels", lambda *_, **__: pytest.fail("was decoded"))
    with pytest.raises(DataError, match=r"the 10 images of .*, 9 x 7, take more memory .*; fix: give a smaller image"):
        load_folder(root)


def test_a_plain_folder_has_nothing_to_say(root: Path) -> None:
    assert load_folder(root).notes == ()


def test_notes(root: Path) -> None:
    save(root / "train" / "Cow" / "0.png", mode="RGBA")
    save(root / "val" / "dog" / "0.png")
    (root / "test" / "dog" / "readme.txt").write_text("x")
    (root / "train" / "dog" / "gone.png").symlink_to(root / "absent.png")
    order, *others = load_folder(root).notes
    assert order.startswith(
        "class folders in string order, torchvision's: Cow, cat, dog; natural order, timm's, is cat"
    )
    assert others == [
        "files left out: 1 a link to nothing, 1 ending in .txt",
        "folders left out: 1 beside train and test (val)",
        "images not read plainly: 1 with transparency (dropped)",
    ]


def test_the_order_of_the_classes(root: Path) -> None:
    for name in ("1", "2", "10"):
        for split in ("train", "test"):
            save(root / split / name / "0.png")
    assert load_folder(root).classes == ("1", "10", "2", "cat", "dog")
    natural = load_folder(root, class_order="natural")
    assert natural.classes == ("1", "2", "10", "cat", "dog")
    assert natural.test_labels.tolist() == [0, 1, 2, 3, 3, 4, 4]
    network = load_folder(root, like=("dog", "cat", "2", "10", "1"))
    assert (network.classes, network.test_labels.tolist()) == (("dog", "cat", "2", "10", "1"), [0, 0, 1, 1, 2, 3, 4])


def test_an_empty_class_names_what_is_left_out(root: Path) -> None:
    (root / "train" / "owl").mkdir()
    (root / "train" / "owl" / "0.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"owl holds no image; .*\.jfif.*; got: files that are left out: 1 ending"):
        load_folder(root)


def test_folders_of_another_layout(root: Path) -> None:
    save(root / "test" / "bird" / "0.png")
    with pytest.raises(DataError, match=r"has classes that .* lacks; expected: some of cat, dog; got: bird"):
        load_folder(root)
    with pytest.raises(
        DataError, match=r"is not an image data set; expected: train/<class>/.*; got: no folder 'train'"
    ):
        load_folder(root / "train")
    (root / "test").rename(root / "evaluation")
    with pytest.raises(DataError, match="got: no folder 'test'"):
        load_folder(root)


def test_empty_folders(root: Path) -> None:
    for file in (root / "test").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="test holds no image; expected: files ending in"):
        load_folder(root)
    (root / "train" / "bird").mkdir()
    with pytest.raises(DataError, match="bird holds no image"):
        load_folder(root)


@pytest.mark.parametrize("size", [0, -1])
def test_no_size_below_one(root: Path, size: int) -> None:
    with pytest.raises(DataError, match="not a side length"):
        load_folder(root, image_size=size)
