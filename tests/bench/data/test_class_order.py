"""Orders of class folders, against torchvision's rule and timm's natural key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.bench.data.class_order import natural_order, order_classes
from hardtemper.runtime.errors import DataError

NUMBERS = ["1", "2", "3", "10", "11"]


def timms_key(text: str) -> list[object]:
    """timm 1.0, utils/misc.py, `natural_key`."""
    return [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", text.lower())]


@given(st.lists(st.text("aAbB01239_- ", min_size=1, max_size=8), unique_by=lambda name: str(timms_key(name))))
def test_natural_order_is_timms(names: list[str]) -> None:
    assert list(natural_order(names)) == sorted(names, key=timms_key)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["class10", "class2", "class1"], ["class1", "class2", "class10"]),
        (["Zebra", "apple"], ["apple", "Zebra"]),
        (["a", "B", "b", "A"], ["A", "a", "B", "b"]),
        (["02", "2", "1"], ["1", "02", "2"]),
        (["v1.10", "v1.9"], ["v1.9", "v1.10"]),
        ([f"1{'0' * 6000}", "9", ""], ["", "9", f"1{'0' * 6000}"]),
        (["²", "1"], ["1", "²"]),
        ([], []),
    ],
)
def test_natural_orders(names: list[str], expected: list[str]) -> None:
    assert list(natural_order(names)) == expected


def test_strings_by_default_and_a_note_that_names_both() -> None:
    classes, note = order_classes(NUMBERS, "name")
    assert classes == ("1", "10", "11", "2", "3")
    assert note == (
        "class folders in string order, torchvision's: 1, 10, 11, 2, 3; natural order, timm's, is 1, 2, 3, 10, 11: "
        "--class-order says which the network has"
    )
    classes, note = order_classes(NUMBERS, "natural")
    assert classes == ("1", "2", "3", "10", "11")
    assert note.startswith("class folders in natural order, timm's: 1, 2, 3, 10, 11; string order, torchvision's, is 1")


@pytest.mark.parametrize("order", ["name", "natural"])
def test_no_note_where_both_orders_are_one(order: str) -> None:
    assert order_classes(["b", "a", "c"], order) == (("a", "b", "c"), "")
    assert order_classes(["02", "10", "01"], order) == (("01", "02", "10"), "")


def test_case_alone_makes_a_difference() -> None:
    classes, note = order_classes(["Zebra", "apple"], "name")
    assert classes == ("Zebra", "apple")
    assert "string order, torchvision's: Zebra, apple; natural order, timm's, is apple, Zebra: " in note


def test_a_networks_own_order_counts() -> None:
    assert order_classes(NUMBERS, "name", like=["11", "1", "2", "3", "10"]) == (("11", "1", "2", "3", "10"), "")
    assert order_classes(NUMBERS, "name", like=["11", "1"])[0] == ("1", "10", "11", "2", "3")


def test_many_classes_are_cut_short() -> None:
    _, note = order_classes([str(number) for number in range(1000)], "name")
    assert note.count(", ...") == 2
    assert len(note) < 300


def test_names_are_printable() -> None:
    assert "\x1b" not in order_classes(["\x1b[2J10", "\x1b[2J9"], "name")[1]


@pytest.mark.parametrize("text", ["c\nb\na\n", "\ufeffc\r\nb\r\na", "\n c \n\nb\na\n\n"])
def test_a_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode())
    classes, note = order_classes(["a", "b", "c"], str(path))
    assert classes == ("c", "b", "a")
    assert note.startswith("class folders in the order of ")
    path.write_text("a\nb\nc\n", encoding="utf-8")
    assert order_classes(["a", "b", "c"], str(path)) == (("a", "b", "c"), "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\n", "does not name the class folders; expected: each of the 3 folders once, .*; got: it lacks c"),
        (b"a\nb\nc\nd\n", "got: it names no folder with d"),
        (b"a\nb\nc\na\n", "got: it names twice a"),
        (b"", "got: it lacks a, b, c"),
        (b"a\nb\n\xff", "is no text"),
        (b"a\n" * 2**20, "is too large"),
    ],
    ids=["one missing", "one too many", "one twice", "empty", "no UTF-8", "large"],
)
def test_files_that_do_not_fit(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        order_classes(["a", "b", "c"], str(path))


@pytest.mark.parametrize("order", ["Natural", "absent.txt", "a\0b", "x" * 5000])
def test_unknown_orders(order: str) -> None:
    with pytest.raises(DataError, match="cannot be read; expected: name, natural, or a text file"):
        order_classes(["a", "b"], order)
