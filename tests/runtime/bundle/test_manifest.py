from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardtemper.runtime.bundle.manifest import (
    FORMAT_VERSION,
    FileEntry,
    Input,
    Manifest,
    Output,
    Provenance,
    check_path,
)
from hardtemper.runtime.errors import BundleError, BundleFormatError

DIGEST = "0123456789abcdef" * 4
FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def value(manifest_value: dict[str, Any]) -> dict[str, Any]:
    for path in ("graph.onnx", "dense/model.onnx", "engines/other.bin"):
        manifest_value["files"].append({"path": path, "sha256": DIGEST, "bytes": 3})
    return manifest_value


# ----------------------------------------------------------------------------------------------------------- round trip

texts = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=8)
numbers = st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
names = st.text("abcXYZ019_-é", min_size=1, max_size=6)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    listed = draw(st.lists(paths, min_size=1, max_size=4, unique_by=str.casefold))
    digests = st.text("0123456789abcdef", min_size=64, max_size=64)
    measurement = st.builds(lambda rest, name, value, unit: rest | {"name": name, "value": value, "unit": unit},
                            json_objects, texts, numbers, texts)  # fmt: skip
    return Manifest(
        name=draw(texts),
        input=Input(
            shape=draw(st.tuples(*[st.integers(1, 9999)] * 3)),
            dtype=draw(st.sampled_from(["uint8", "float32"])),
            name=draw(texts),
        ),
        output=Output(classes=tuple(draw(st.lists(texts, min_size=1, max_size=4))), name=draw(texts)),
        graph=draw(st.sampled_from(listed)),
        dense=draw(st.none() | st.sampled_from(listed)),
        files=tuple(FileEntry(path=path, sha256=draw(digests), bytes=draw(st.integers(0, 2**24))) for path in listed),
        provenance=Provenance(
            created=draw(st.datetimes()).isoformat(timespec="microseconds") + "Z",
            recipe=draw(json_objects),
            seed=draw(st.integers(-(2**63), 2**64 - 1)),
            versions=draw(st.dictionaries(texts, texts, max_size=3)),
            instruction_set=draw(texts),
            cpu=draw(texts),
        ),
        quantization=draw(json_objects),
        layers=tuple(draw(st.lists(json_objects, max_size=2))),
        measurements=tuple(draw(st.lists(measurement, max_size=2))),
        proofs=draw(json_objects),
    )


@settings(deadline=None)
@given(manifests())
def test_json_round_trip(manifest: Manifest) -> None:
    source = manifest.to_json()
    assert Manifest.from_json(source) == manifest
    assert Manifest.from_json(source).to_json() == source
    assert pickle.loads(pickle.dumps(manifest)) == manifest


def test_layout_of_the_json(value: dict[str, Any]) -> None:
    source = Manifest.from_json(json.dumps(value)).to_json()
    assert json.loads(source) == value
    assert source == json.dumps(value, indent=2, sort_keys=True) + "\n"
    assert source.isascii()


def test_tuples_become_lists_and_are_copied(value: dict[str, Any]) -> None:
    manifest = Manifest.from_json(json.dumps(value))
    recipe = {"steps": (1, (2.5, "x")), "value": np.float64(0.5)}
    changed = replace(manifest, provenance=replace(manifest.provenance, recipe=recipe))
    recipe["steps"] = ()
    assert changed.provenance.recipe == {"steps": [1, [2.5, "x"]], "value": 0.5}
    assert type(changed.provenance.recipe["value"]) is float
    assert Manifest.from_json(changed.to_json()) == changed


def test_frozen(value: dict[str, Any]) -> None:
    manifest = Manifest.from_json(json.dumps(value))
    with pytest.raises(FrozenInstanceError):
        manifest.name = "other"  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------------------- refusals

DELETE = object()

REFUSED = [
    # path of keys, new value, field path in the error
    (["name"], 5, "name"),
    (["name"], "", "name"),
    (["name"], DELETE, "name"),
    (["name"], "a\ud800b", "name"),
    (["name"], "a\nb", "name"),
    (["input", "name"], "\x1b[2J", "input.name"),
    (["output", "name"], "\x1b[2J", "output.name"),
    (["output", "classes", 3], "\x1b]0;owned\x07", "output.classes[3]"),
    (["files", 2, "path"], "\x1b[31mX", "files[2].path"),
    (["provenance", "versions", "hardtemper"], "\x1b[31m", "provenance.versions.hardtemper"),
    (["provenance", "versions"], {"\x1b[31m": "1"}, "provenance.versions"),
    (["provenance", "cpu"], "\u202e", "provenance.cpu"),
    (["provenance", "instruction_set"], "\x9b2J", "provenance.instruction_set"),
    (["provenance", "recipe", "seed"], "\ud800", "provenance.recipe.seed"),
    (["layers", 0, "name"], "\udfff", "layers[0].name"),
    (["layers", 0], {"\udfff": 1}, "layers[0]"),
    (["measurements", 0, "name"], "\x1b[31m", "measurements[0].name"),
    (["measurements", 0, "unit"], "\x1b[31m", "measurements[0].unit"),
    (["extra"], 1, "extra"),
    (["input"], [], "input"),
    (["input", "shape"], "abc", "input.shape"),
    (["input", "shape"], [1, 8], "input.shape"),
    (["input", "shape", 1], 0, "input.shape[1]"),
    (["input", "shape", 1], True, "input.shape[1]"),
    (["input", "shape", 2], 8.0, "input.shape[2]"),
    (["input", "shape", 2], 2**64, "input.shape[2]"),
    (["input", "dtype"], "int8", "input.dtype"),
    (["input", "dtype"], DELETE, "input.dtype"),
    (["output", "classes"], [], "output.classes"),
    (["output", "classes", 3], None, "output.classes[3]"),
    (["output", "classes"], "abc", "output.classes"),
    (["graph"], "other.onnx", "graph"),
    (["graph"], None, "graph"),
    (["dense"], "other.onnx", "dense"),
    (["dense"], 0, "dense"),
    (["files"], {}, "files"),
    (["files", 2], "graph.onnx", "files[2]"),
    (["files", 2, "sha256"], DIGEST.upper(), "files[2].sha256"),
    (["files", 2, "sha256"], DIGEST + "\n", "files[2].sha256"),
    (["files", 2, "sha256"], DELETE, "files[2].sha256"),
    (["files", 2, "extra"], 0, "files[2].extra"),
    (["files", 2, "bytes"], -1, "files[2].bytes"),
    (["files", 2, "bytes"], "3", "files[2].bytes"),
    (["files", 2, "path"], "../graph.onnx", "files[2].path"),
    (["files", 2, "path"], "GRAPH.onnx", "files[2].path"),
    (["provenance", "created"], "yesterday", "provenance.created"),
    (["provenance", "created"], "2025-02-30T00:00:00Z", "provenance.created"),
    (["provenance", "created"], "2025-01-31T12:00:00", "provenance.created"),
    (["provenance", "created"], "2025-01-31T12:00:00+02:00", "provenance.created"),
    (["provenance", "seed"], 1.5, "provenance.seed"),
    (["provenance", "recipe"], [], "provenance.recipe"),
    (["provenance", "versions", "hardtemper"], 1, "provenance.versions.hardtemper"),
    (["provenance", "cpu"], DELETE, "provenance.cpu"),
    (["quantization"], None, "quantization"),
    (["layers"], {}, "layers"),
    (["layers", 1], "fc", "layers[1]"),
    (["measurements", 0, "value"], "fast", "measurements[0].value"),
    (["measurements", 0, "value"], True, "measurements[0].value"),
    (["measurements", 0, "value"], DELETE, "measurements[0].value"),
    (["measurements", 0, "unit"], DELETE, "measurements[0].unit"),
    (["proofs", "parity"], float("nan"), "invalid JSON"),
    (["format_version"], "1", "format_version"),
    (["format_version"], True, "format_version"),
    (["format_version"], DELETE, "format_version"),
]


def change(value: Any, keys: list[Any], new: Any) -> None:
    for key in keys[:-1]:
        value = value[key]
    if new is DELETE:
        del value[keys[-1]]
    else:
        value[keys[-1]] = new


@pytest.mark.parametrize(("keys", "new", "where"), REFUSED)
def test_refusal_names_the_field(value: dict[str, Any], keys: list[Any], new: Any, where: str) -> None:
    change(value, keys, new)
    with pytest.raises(BundleFormatError) as caught:
        Manifest.from_json(json.dumps(value))
    assert caught.value.what == f"manifest.json: {where}"


@pytest.mark.parametrize(("version", "fix"), [(7, "upgrade hardtemper"), (2, "upgrade hardtemper"), (0, ""), (-1, "")])
def test_unknown_version_is_refused_before_anything_else(version: int, fix: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        Manifest.from_json(json.dumps({"format_version": version, "whatever": []}))
    error = caught.value
    assert (error.what, error.expected, error.got, error.fix) == (
        "manifest.json: format_version",
        str(FORMAT_VERSION),
        str(version),
        fix,
    )


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{",
        "[]",
        "null",
        "1e999",
        '{"format_version": 1e999}',
        '{"format_version": 1, "format_version": 1}',
        '{"format_version": NaN}',
        "[" * 100_000,
        '{"format_version": ' + "9" * 5000 + "}",
        "\ufeff{}",
    ],
)
def test_refuses_what_is_no_strict_json_object(source: str) -> None:
    with pytest.raises(BundleFormatError, match=r"manifest\.json: "):
        Manifest.from_json(source)


def test_refuses_overflowing_numbers_and_deep_nesting(value: dict[str, Any]) -> None:
    source = json.dumps(value)
    for new in ("1e999", "[" * 100 + "]" * 100, str(2**64)):
        with pytest.raises(BundleFormatError, match="proofs"):
            Manifest.from_json(source.replace('"mismatches": 0', f'"mismatches": {new}'))


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/a", "a/../b", "a/..", "../a", "./a", "a//b", "a/", "a\\b", "C:a", "C:/a", "a\0", "a\nb", "\ud800",
     "manifest.json", "Manifest.JSON", "a?b", 3, None, b"a"],
)  # fmt: skip
def test_paths_that_could_lead_out_or_astray(path: object) -> None:
    with pytest.raises(BundleFormatError, match="somewhere"):
        check_path(path, "somewhere")


@pytest.mark.parametrize(
    "path", ["a", "a/b.onnx", "..a", "a..b/c", ".hidden", "with space", "größe.bin", "sub/manifest.json"]
)
def test_paths_that_are_fine(path: str) -> None:
    assert check_path(path, "somewhere") == path


def test_construction_in_python_is_checked_too(value: dict[str, Any]) -> None:
    manifest = Manifest.from_json(json.dumps(value))
    for changes, where in [
        ({"input": value["input"]}, "input"),
        ({"files": (value["files"][0],)}, "files[0]"),
        ({"proofs": {"x": np.int64(3)}}, "proofs.x"),
        ({"proofs": {1: "x"}}, "proofs"),
        ({"measurements": ({"name": "a", "value": float("inf"), "unit": "ms"},)}, "measurements[0].value"),
        ({"layers": ({"a": [0, {1, 2}]},)}, "layers[0].a[1]"),
    ]:
        with pytest.raises(BundleFormatError) as caught:
            replace(manifest, **changes)
        assert caught.value.what == where


# ----------------------------------------------------------------------------------------------------------------- fuzz


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value below the top."""
    below = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [place for key, item in below for place in [(*above, key), *places(item, (*above, key))]]


@FUZZ
@given(data=st.data())
def test_fuzzed_values_give_only_bundle_errors(value: dict[str, Any], data: st.DataObject) -> None:
    mutant = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 3))):
        keys = data.draw(st.sampled_from(places(mutant)))
        change(mutant, list(keys), data.draw(st.just(DELETE) | json_values))
        if not mutant:
            break
    try:
        manifest = Manifest.from_json(json.dumps(mutant))
    except BundleError as error:
        assert str(error).startswith("manifest.json: ")  # noqa: PT017 - most mutants, not all, are refused
    else:
        assert json.loads(manifest.to_json()) == mutant


@FUZZ
@given(data=st.data())
def test_fuzzed_text_gives_only_bundle_errors(value: dict[str, Any], data: st.DataObject) -> None:
    source = json.dumps(value)
    start = data.draw(st.integers(0, len(source)))
    stop = data.draw(st.integers(start, min(len(source), start + 8)))
    try:
        Manifest.from_json(source[:start] + data.draw(st.text(max_size=4)) + source[stop:])
    except BundleError as error:
        assert str(error).startswith("manifest.json: ")  # noqa: PT017 - most mutants, not all, are refused
