from __future__ import annotations

import pytest
from google.protobuf.internal import decoder, encoder
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.runtime.graph_check.wire import Wire, WireError, signed

whole = st.integers(0, 2**64 - 1)
numbers = st.integers(1, 2**29 - 1)
fields = st.one_of(
    st.tuples(numbers, st.just(0), whole),
    st.tuples(numbers, st.just(2), st.binary(max_size=300)),
    st.tuples(numbers, st.just(1), st.binary(min_size=8, max_size=8)),
    st.tuples(numbers, st.just(5), st.binary(min_size=4, max_size=4)),
)


def varint(value: int) -> bytes:
    found = bytearray()
    encoder._EncodeVarint(found.extend, value)
    return bytes(found)


def encoded(number: int, kind: int, value: int | bytes) -> bytes:
    tag = varint(number << 3 | kind)
    if isinstance(value, int):
        return tag + varint(value)
    return tag + (varint(len(value)) if kind == 2 else b"") + value


@given(st.lists(fields, max_size=8))
def test_what_protobuf_encodes_is_read(message: list[tuple[int, int, int | bytes]]) -> None:
    data = b"".join(encoded(*field) for field in message)
    found = Wire(data, most=100).fields(0, len(data))
    assert [(tag, data[at:end] if tag & 7 else at) for tag, at, end in found] == [
        (number << 3 | kind, value) for number, kind, value in message
    ]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = Wire(data, most=50).fields(0, len(data))
    except WireError:
        return
    assert all(at <= end <= len(data) for tag, at, end in found if tag & 7)


@given(st.lists(whole, max_size=20))
def test_packed_varints(values: list[int]) -> None:
    data = b"\xff" + b"".join(map(varint, values)) + b"\xff"
    wire = Wire(data, most=20)
    assert wire.count_varints(1, len(data) - 1) == len(values)
    assert wire.varints(1, len(data) - 1) == values


@given(whole)
def test_signs_are_protobufs(value: int) -> None:
    read64, read32 = (decoder._DecodeSignedVarint, decoder._DecodeSignedVarint32)
    assert signed(value) == read64(varint(value), 0)[0]
    assert signed(value, 32) == read32(varint(value), 0)[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a", "cut off"),
        (b"\x0a\x05abc", "cut off"),
        (b"\x0a\xff\xff\xff\xff\x07abc", "cut off"),
        (b"\x08\x80", "cut off"),
        (b"\x0d\x00\x00", "cut off"),
        (b"\x0b", "a field of kind 3"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "more than 64 bits"),
        (b"\x80\x80\x80\x80\x80\x01\x00", "a tag of more than 32 bits"),
        (b"\x08\x00" * 11, "too many fields"),
    ],
)
def test_what_is_no_message(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        Wire(data, most=10).fields(0, len(data))


def test_the_limit_is_over_all_messages() -> None:
    data = b"\x08\x00" * 4
    wire = Wire(data, most=10)
    assert len(wire.fields(0, 8)) == len(wire.fields(0, 8)) == 4
    with pytest.raises(WireError, match="too many"):
        wire.fields(0, 8)
    with pytest.raises(WireError, match="too many"):
        Wire(b"\x00" * 11, most=10).varints(0, 11)
    with pytest.raises(WireError, match="cut off"):
        Wire(b"\x80", most=10).varints(0, 1)
