"""Packed graphs: the very bytes again, and an error where they were damaged or made to explode."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hardtemper.export.graph_packing import pack_graph
from hardtemper.runtime.errors import BundleFormatError, IntegrityError
from hardtemper.runtime.files.onnx_file import OnnxFile, read_onnx
from hardtemper.runtime.files.packed_graph import (
    ABSENT,
    DEFLATED,
    HEADER,
    MAGIC,
    ROW,
    STORED,
    is_packed,
    most_unpacked,
    unpack_graph,
)

PATH = Path("model.onnx.packed")


def container(
    whole: bytes,
    *,
    skeleton: tuple[int, bytes],
    rows: list[tuple[int, int, tuple[int, bytes], tuple[int, bytes]]] | None = None,
    length: int | None = None,
    count: int | None = None,
    bits: int = 8,
) -> bytes:
    """A packed file, written by hand."""
    rows = rows or []
    coding, stored = skeleton
    found = HEADER.pack(
        MAGIC,
        hashlib.sha256(whole).digest(),
        len(whole) if length is None else length,
        len(rows) if count is None else count,
        coding,
        len(stored),
    )
    for gap, size, mask, values in rows:
        found += ROW.pack(gap, size, bits, mask[0], len(mask[1]), values[0], len(values[1]))
    return found + stored + b"".join(mask[1] + values[1] for _, _, mask, values in rows)


def deflated(content: bytes) -> tuple[int, bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return DEFLATED, packer.compress(content) + packer.flush()


NONE = (ABSENT, b"")
WHOLE = b"skeleton" + bytes([3, 0, 0, 5, 0, 0, 0, 0, 7]) + b"end" + bytes(range(1, 5))
ROWS = [
    (8, 9, (STORED, bytes([0b10010000, 0b10000000])), (STORED, bytes([3, 5, 7]))),
    (3, 4, NONE, deflated(bytes(range(1, 5)))),
]
GOOD = container(WHOLE, skeleton=(STORED, b"skeletonend"), rows=ROWS)


def test_the_layout_by_hand() -> None:
    assert unpack_graph(GOOD, PATH) == WHOLE
    assert (is_packed(GOOD), is_packed(WHOLE)) == (True, False)
    assert unpack_graph(container(b"", skeleton=(STORED, b"")), PATH) == b""
    book, indices = bytes([9, 7, 5, 3]), bytes([0b00011011, 0b10000000])
    row = (0, 7, (STORED, bytes([0b10111110])), (STORED, book + indices))
    shared = container(bytes([9, 0, 7, 5, 3, 5, 9]), skeleton=(STORED, b""), rows=[row], bits=2)
    assert unpack_graph(shared, PATH) == bytes([9, 0, 7, 5, 3, 5, 9])


BOMB = deflated(bytes(50_000_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MAGIC, "cut off"),
        (GOOD[:-1], "blocks of"),
        (GOOD + b"\0", "blocks of"),
        (container(WHOLE, skeleton=(STORED, b""), count=2**32 - 1), "4294967295 tensors in a file of"),
        (container(WHOLE, skeleton=(STORED, b""), length=2**63), "at most 268435456 are unpacked"),
        (container(WHOLE, skeleton=(STORED, b""), length=2**28 + 1), "at most 268435456 are unpacked"),
        (container(WHOLE, skeleton=(STORED, b"skeleton"), rows=[(9, 2**31, NONE, NONE)]), "tensors of 2147483648"),
        (container(WHOLE, skeleton=(STORED, b"skeleton"), rows=[(2**31, 9, NONE, NONE)]), "tensors of 9"),
        (container(WHOLE, skeleton=(STORED, b"skeletonen"), rows=ROWS), "10 bytes in place of 11"),
        (container(WHOLE, skeleton=(3, b"skeletonend"), rows=ROWS), "coding 3"),
        (container(WHOLE, skeleton=(ABSENT, b"skeletonend"), rows=ROWS), "coding 0"),
        (container(WHOLE, skeleton=NONE), "absent"),
        (container(WHOLE, skeleton=(STORED, b"skeletonend"), rows=ROWS, bits=3), "indices of 3 bits"),
        (container(WHOLE, skeleton=(STORED, b"skeletonend"), rows=ROWS, bits=4), "3 bytes in place of 18"),
        (container(WHOLE, skeleton=(STORED, WHOLE[:-4]), rows=[(20, 4, NONE, NONE)]), "absent"),
        (container(WHOLE, skeleton=(STORED, WHOLE[:-4]), rows=[(20, 4, NONE, BOMB)]), "does not inflate to 4 bytes"),
        (container(WHOLE, skeleton=(STORED, WHOLE[:-4]), rows=[(20, 4, BOMB, (STORED, b""))]), "inflate to 1 bytes"),
        (
            container(WHOLE, skeleton=(STORED, WHOLE[:-4]), rows=[(20, 4, NONE, (DEFLATED, BOMB[1] + b"x"))]),
            "inflate",
        ),
        (container(WHOLE, skeleton=(STORED, WHOLE[:-4]), rows=[(20, 4, NONE, (DEFLATED, b"\xff" * 9))]), "damaged"),
        (
            container(WHOLE, skeleton=(STORED, WHOLE[:-4]), rows=[(20, 4, (STORED, b"\xff"), (STORED, b"123"))]),
            "3 bytes in place of 4",
        ),
    ],
)
def test_what_breaks_the_layout(content: bytes, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BundleFormatError, match=r"model\.onnx\.packed: cannot be unpacked") as raised:
            unpack_graph(content, PATH)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert message in raised.value.got


def test_other_bytes_than_the_header_says() -> None:
    other = container(WHOLE[:-1] + b"x", skeleton=(STORED, b"skeletonend"), rows=ROWS)
    with pytest.raises(IntegrityError, match="SHA-256 of the unpacked graph differs"):
        unpack_graph(other, PATH)


def test_the_limit_is_that_of_archives() -> None:
    assert [most_unpacked(size) for size in (0, 2**23, 2**23 + 1, 2**31)] == [2**28, 2**28, 2**28 + 32, 2**31 - 1]


def graph(weights: np.ndarray) -> bytes:
    """A graph of one DequantizeLinear of int8 weights."""
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, weights.shape)
    stored = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.float32(0.5), "s")]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [output], stored))
    content: bytes = model.SerializeToString()
    return content


def few_values(n: int = 4096) -> np.ndarray:
    rng = np.random.default_rng(0)
    weights = rng.choice(np.array([-50, -9, 4, 33], np.int8), n)
    weights[rng.random(n) < 0.8] = 0
    return weights


def unpacked_or_refused(content: bytes) -> bytes | None:
    try:
        return unpack_graph(content, PATH)
    except (BundleFormatError, IntegrityError):
        return None


def test_damage_is_one_clear_error_or_changes_nothing() -> None:
    """Truncations, flipped bits, and bytes at random: never another graph, never another exception."""
    whole = graph(few_values(600))
    packed = pack_graph(whole)
    assert is_packed(packed)
    chance = random.Random(0)
    damaged = [packed[:size] for size in range(len(MAGIC), len(packed), 7)]
    for bit in range(8 * len(MAGIC), 8 * len(packed), 5):
        content = bytearray(packed)
        content[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(content))
    for _ in range(300):
        content = bytearray(packed)
        for _ in range(chance.randrange(1, 9)):
            content[chance.randrange(len(MAGIC), len(content))] = chance.randrange(256)
        damaged.append(bytes(content))
    found = [unpacked_or_refused(content) for content in damaged]
    assert {whole, None} >= set(found)
    assert found.count(None) > 0.98 * len(damaged)


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_magic(content: bytes) -> None:
    with pytest.raises((BundleFormatError, IntegrityError)):
        unpack_graph(MAGIC + content, PATH)


def test_whoever_opens_a_graph_sees_the_onnx_file(tmp_path: Path) -> None:
    whole = graph(few_values())
    path = tmp_path / "model.onnx"
    path.write_bytes(whole)
    plain = read_onnx(path)
    path.write_bytes(pack_graph(whole))
    packed = read_onnx(path)
    assert (packed.content, packed.whole(), packed.digest) == (whole, whole, plain.digest)
    assert (plain.stored, packed.stored) == ((whole,), (path.read_bytes(),))
    assert onnx.load_model_from_string(packed.whole()).graph.initializer[0].name == "w"
    with pytest.raises(BundleFormatError, match="cannot be unpacked"):
        OnnxFile.of(path, pack_graph(whole)[:-1], lambda _: b"")
