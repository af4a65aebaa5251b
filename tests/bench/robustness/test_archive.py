from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.archive import Archive, read_archive, write_archive
from hardtemper.runtime.errors import DataError, InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 1, 3, 3)).astype(np.uint8)


def header(text: str = "linf:2/255") -> dict[str, Any]:
    threat = ThreatModel.parse(text)
    about = {"norm": threat.norm, "epsilon": threat.epsilon, "target": threat.target}
    names = ("pgd-20", "square")
    return {
        "threat": about,
        "classes": 3,
        "attacks": [{"name": name, "target": "twin", "settings": {}} for name in names],
    }


def archive(text: str = "linf:2/255", **changes: Any) -> Archive:
    """Images 0 and 1 have candidates; a pixel or two of a candidate are a level off."""
    rows = np.array([0, 1, 1])
    adversarial = IMAGES[rows].copy()
    adversarial[:, 0, 0, 0] ^= 1
    adversarial[2, 0, 0, 1] ^= 1
    arrays: dict[str, Any] = {
        "images": IMAGES,
        "labels": np.array([0, 1, 2, 0]),
        "indices": np.array([7, 3, 9, 1]),
        "adversarial": adversarial,
        "rows": rows,
        "attacks": np.array([0, 0, 1]),
        "on_engine": np.array([True, True, False]),
        "on_twin": np.array([True, False, True]),
    }
    return Archive(header=header(text), **{**arrays, **changes})


def test_round_trip(tmp_path: Path) -> None:
    made = archive()
    write_archive(made, tmp_path / "new" / "verdict.npz")
    found = read_archive(tmp_path / "new" / "verdict.npz")
    for name in ("images", "labels", "indices", "adversarial", "rows", "attacks", "on_engine", "on_twin"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    assert found.names == ("pgd-20", "square")
    assert found.header["threat"] == made.header["threat"]
    assert found.threat == ThreatModel("linf", 2 / 255)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["verdict.npz"]


@pytest.mark.parametrize("alarms", ["random", {"random": 1}, [1], [["random"]], ["x" * 65], ["x"] * 65, None])
def test_alarms_that_are_no_names(alarms: Any) -> None:
    with pytest.raises(DataError, match=r"header.alarms"):
        replace(archive(), header={**header(), "alarms": alarms})


@pytest.mark.parametrize(
    ("targets", "alarms", "found"),
    [
        (("twin", "engine"), ["random"], ("random",)),
        (("engine", "parent"), ["random"], ("random", "no white-box attack")),
        (("engine", "engine"), ["no white-box attack"], ("no white-box attack",)),
    ],
)
def test_a_verdict_of_queries_alone_says_so(
    targets: tuple[str, ...], alarms: list[str], found: tuple[str, ...]
) -> None:
    attacks = [{"name": target, "target": target, "settings": {}} for target in targets]
    assert replace(archive(), header={**header(), "attacks": attacks, "alarms": alarms}).alarms == found


def test_an_empty_verdict(tmp_path: Path) -> None:
    none = np.zeros(0, np.int64)
    made = archive(
        adversarial=IMAGES[:0], rows=none, attacks=none, on_engine=np.zeros(0, bool), on_twin=np.zeros(0, bool)
    )
    write_archive(made, tmp_path / "verdict.npz")
    found = read_archive(tmp_path / "verdict.npz")
    assert (found.adversarial.shape, found.rows.shape) == ((0, 1, 3, 3), (0,))


@given(
    norm=st.sampled_from(["linf", "l2", "l1"]),
    levels=st.floats(0.5, 40),
    moves=st.lists(st.integers(-12, 12), min_size=9, max_size=9),
)
def test_the_ball_is_the_threat_models(norm: str, levels: float, moves: list[int]) -> None:
    text = f"{norm}:{levels / 255!r}"
    image = np.full((1, 1, 3, 3), 100, np.uint8)
    moved = (image + np.array(moves).reshape(1, 1, 3, 3)).astype(np.uint8)
    inside = bool(ThreatModel.parse(text).contains(moved, image))
    one, yes = np.zeros(1, np.int64), np.ones(1, bool)
    arrays = {"images": image, "labels": one, "indices": one, "adversarial": moved, "rows": one, "attacks": one}
    with nullcontext() if inside else pytest.raises(DataError, match="1 of 1 outside"):
        Archive(header=header(text), **arrays, on_engine=yes, on_twin=yes)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("labels", np.zeros(3, np.int64), "images; expected"),
        ("labels", np.zeros(4), "labels; expected: int64; got: float64"),
        ("labels", np.array([0, 1, 2, 3]), "labels; expected: numbers below 3"),
        ("rows", np.array([0, 1, 4]), "rows; expected: numbers below 4"),
        ("rows", np.array([0, 1, -1]), "rows; expected"),
        ("rows", np.array([0, 1, 2]), "adversarial; expected: every candidate in linf:2/255; got: 1 of 3 outside"),
        ("attacks", np.array([0, 1, 2]), "attacks; expected: numbers below 2"),
        ("adversarial", IMAGES[:3, :, :2], "adversarial; expected"),
        ("on_twin", np.ones(2, bool), "on_twin; expected"),
        ("images", IMAGES[0], "images; expected"),
    ],
)
def test_arrays_that_contradict_each_other(name: str, wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        archive(**{name: wrong})


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("target", "2", "header.threat.target; expected: null or a class below 3; got: '2'"),
        ("target", 3, "header.threat.target; expected: null or a class below 3; got: 3"),
        ("target", -1, "header.threat.target"),
        ("target", True, "header.threat.target"),
        ("target", 1.0, "header.threat.target"),
        ("target", [], "header.threat.target"),
        ("target", 1, "labels; expected: no image of the target class 1; got: 1 of 4"),
        (
            "epsilon",
            float("inf"),
            "header.threat: radius of a threat model out of range (linf); expected: 0 <= ",
        ),
        ("epsilon", float("nan"), "header.threat: radius of a threat model out of range (linf)"),
        ("epsilon", -0.1, "header.threat: radius of a threat model out of range (linf)"),
        ("epsilon", 1.1, "header.threat: radius of a threat model out of range (linf)"),
        ("epsilon", "0.1", "header.threat.epsilon; expected: a number; got: '0.1'"),
        ("epsilon", True, "header.threat.epsilon"),
        ("norm", ["linf"], "header.threat: unknown norm of a threat model; expected: linf, l2 or l1"),
        ("classes", "3", "header.classes; expected: a whole number >= 1; got: '3'"),
        ("classes", 0, "header.classes"),
        ("clean", 5, "header.clean; expected: 0 to 4 images; got: 5"),
        ("robust", "3", "header.robust; expected: 0 to 4 images; got: '3'"),
    ],
)
def test_a_header_out_of_range(tmp_path: Path, where: str, value: Any, message: str) -> None:
    """Where nothing can be the target, everything would withstand."""

    def change(arrays: dict[str, Any]) -> dict[str, Any]:
        about = json.loads(str(arrays["header"]))
        (about["threat"] if where in about["threat"] else about)[where] = value
        return {**arrays, "header": np.array(json.dumps(about))}

    path = tmp_path / "verdict.npz"
    write_archive(archive(), path)
    np.savez(path, **change(stored(path)))
    with pytest.raises(DataError) as caught:
        read_archive(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_moves_are_computed_in_pieces(norm: str) -> None:
    n, shape = 256, (3, 64, 64)
    images = np.zeros((n, *shape), np.uint8)
    zeros, yes = np.zeros(n, np.int64), np.ones(n, bool)
    arrays: dict[str, Any] = {"images": images, "labels": zeros, "indices": zeros, "rows": zeros, "attacks": zeros}
    arrays |= {"on_engine": yes, "on_twin": yes, "adversarial": images + np.uint8(1)}
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"every candidate in {norm}:.*; got: 256 of 256 outside"):
            Archive(header=header(f"{norm}:0.001"), **arrays)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20  # all moves at once are 24 MiB, twice
    finally:
        tracemalloc.stop()


def stored(path: Path) -> dict[str, Any]:
    with np.load(path) as content:
        return dict(content)


def flipped(arrays: dict[str, Any]) -> dict[str, Any]:
    changed = arrays["adversarial"].copy()
    changed[0, 0, 1, 1] ^= 1  # still inside the ball
    return {**arrays, "adversarial": changed}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flipped, "adversarial: SHA-256 differs"),
        (lambda a: {**a, "header": np.array(str(a["header"]).replace("0.0078", "0.0018"))}, "3 of 3 outside"),
        (
            lambda a: {**a, "header": np.array(str(a["header"]).replace('version": 1', 'version": 2'))},
            "format_version 2",
        ),
        (
            lambda a: {**a, "header": np.array(str(a["header"]).replace('"linf"', '"l0"'))},
            "header.threat: unknown norm",
        ),
        (lambda a: {**a, "header": np.array("{}")}, "format_version None"),
        (lambda a: {**a, "header": np.array("no JSON")}, "JSONDecodeError"),
        (lambda a: {**a, "header": np.array("[]")}, "AttributeError"),
        (lambda a: {k: v for k, v in a.items() if k != "rows"}, "rows"),
        (lambda a: {**a, "rows": np.array([{}], object)}, "no verdict"),
        (lambda a: {**a, "header": np.array("[" * 100_000)}, "no verdict; .* RecursionError"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "verdict.npz"
    write_archive(archive(), path)
    np.savez(path, **change(stored(path)))
    with pytest.raises(DataError, match=message) as caught:
        read_archive(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 nearly"])
def test_what_is_no_verdict(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "verdict.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no verdict"):
        read_archive(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_archive(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot be read"):
        read_archive(tmp_path)


def test_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "verdict.npz"
    write_archive(archive(), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="no verdict"):
            read_archive(path)
    assert zipfile.is_zipfile(path) is False


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the verdict"):
        write_archive(archive(), tmp_path / "file" / "verdict.npz")


@pytest.mark.parametrize(
    "text", ["linf:8/255", "linf:0.1", "linf:1.0", "linf:0.0", "l2:1.5", "l1:12.0", "linf:8/255->2", "l2:0.5->0"]
)
def test_its_threat_model(text: str) -> None:
    none = np.zeros(0, np.int64)
    nothing = {"rows": none, "attacks": none, "on_engine": none.astype(bool), "on_twin": none.astype(bool)}
    nothing |= {"labels": np.ones(4, np.int64)}
    assert archive(text, adversarial=IMAGES[:0], **nothing).threat == ThreatModel.parse(text)
    assert str(ThreatModel.parse(text)) == text


def test_reading_and_replaying_need_numpy_alone(tmp_path: Path) -> None:
    path = tmp_path / "verdict.npz"
    write_archive(replace(archive()), path)
    heavy = ("torch", "onnx", "onnxruntime", "click", "rich", "scipy", "pydantic")
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy!r})); from pathlib import Path; import numpy as np; "
    code += "from hardtemper.bench.robustness.archive import read_archive; "
    code += "from hardtemper.bench.robustness.replay_verdict import replay; "
    code += "a = read_archive(Path(sys.argv[1])); "
    code += "print(replay(a, lambda p: np.zeros((len(p), 3), np.float32), name='zero').clean)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
