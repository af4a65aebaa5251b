"""Files as torch.save and safetensors write them: with other objects beside the weights, damaged, hostile."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import os
import pathlib
import pickle
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.checkpoint_file import StandIn, read_file, shown

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


class Config(dict):  # type: ignore[type-arg]
    """As yacs' CfgNode and EasyDict: a dict with attributes."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.frozen = True


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Arguments:
    lr: float = 0.1


class Scheduler:
    def __init__(self) -> None:
        self.steps = [np.int64(1), Arguments()]


BESIDE: dict[str, Any] = {
    "numpy float": np.float64(91.2),
    "numpy float32": np.float32(91.2),
    "numpy bool": np.bool_(True),
    "numpy str": np.str_("x"),
    "numpy array": np.arange(3),
    "numpy array of names": np.array(["a", "b"]),
    "numpy array of objects": np.array([{"a": 1}, None], object),
    "numpy dtype": np.dtype("f4"),
    "numpy random state": np.random.RandomState(0).get_state(),
    "numpy generator": np.random.default_rng(0),
    "Namespace": argparse.Namespace(lr=0.1, steps=[1, 2]),
    "SimpleNamespace": types.SimpleNamespace(lr=0.1),
    "path": pathlib.PurePosixPath("a/b"),
    "path of this system": Path("a/b"),
    "datetime": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(1),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "defaultdict of a namespace": collections.defaultdict(argparse.Namespace, a=1),
    "OrderedDict": collections.OrderedDict(a=1),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], 5),
    "set": {1, 2},
    "frozenset": frozenset({1, 2}),
    "complex": 1j,
    "bytes": b"abc",
    "torch dtype": torch.float32,
    "torch device": torch.device("cpu"),
    "torch size": torch.Size([1]),
    "enum": Colour.RED,
    "dataclass": Arguments(),
    "object of objects": Scheduler(),
    "slots": Slotted(),
    "config": Config(lr=0.1),
    "partial": functools.partial(max, 3),
    "function": os.path.join,
    "class": Arguments,
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", BESIDE)
def test_what_training_scripts_store_beside_the_weights(tmp_path: Path, case: str, old: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save({"args": BESIDE[case], "model": STATE}, path, _use_new_zipfile_serialization=not old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = read_file(path)
    assert list(content) == ["args", "model"]
    assert all(torch.equal(content["model"][key], value) for key, value in STATE.items())


def test_a_stand_in_says_what_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"args": argparse.Namespace(lr=0.1)}, path)
    args = read_file(path)["args"]
    assert isinstance(args, StandIn)
    assert args.called == "argparse.Namespace"
    assert vars(args) == {}


def test_stand_ins_are_gone_afterwards(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    path = tmp_path / "x.pth"
    torch.save({"args": argparse.Namespace(lr=0.1)}, path)
    read_file(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError):
        read_file(path)
    assert set(torch.serialization.get_safe_globals()) == before


class Trap:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


SPRUNG: list[str] = []


def spring(*_: object) -> str:
    SPRUNG.append("sprung")
    return "sprung"


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "trap",
    [
        Trap(spring, "x"),
        Trap(eval, "__import__('os').mkdir('sprung')"),
        Trap(exec, "import os; os.mkdir('sprung')"),
        Trap(getattr, "x", "upper"),
        Trap(functools.partial, spring, "x"),
    ],
    ids=["function", "eval", "exec", "getattr", "partial"],
)
def test_no_code_of_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: Trap, old: bool) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"args": trap, "model": STATE}, "x.pth", _use_new_zipfile_serialization=not old)
    SPRUNG.clear()
    content = read_file(Path("x.pth"))
    assert isinstance(content["args"], StandIn)
    assert SPRUNG == []
    assert not Path("sprung").exists()


@pytest.mark.parametrize("function", [os.mkdir, os.system])
def test_the_systems_own_functions_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"args": Trap(function, "mkdir sprung"), "model": STATE}, "x.pth")
    with pytest.raises(ModelError, match=rf"never unpickled; .*; got: {os.name}\.{function.__name__}; fix"):
        read_file(Path("x.pth"))
    assert os.listdir() == ["x.pth"]  # noqa: PTH208


def test_objects_of_both_kinds_are_named(tmp_path: Path) -> None:
    """One takes items, the other a tuple: no form of stand-in serves for both."""
    path = tmp_path / "x.pth"
    torch.save({"config": Config(lr=0.1), "function": functools.partial(max, 3)}, path)
    with pytest.raises(ModelError, match=r"objects that cannot be passed over, .* got: .*test_checkpoint_file\.Config"):
        read_file(path)


def test_too_many_classes(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({}, path)
    content = b"\x80\x02]q\x00(" + b"".join(b"cmine\nC%d\n" % number for number in range(300)) + b"e."
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "y.pth", "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, content if name.endswith("data.pkl") else archive.read(name))
    with pytest.raises(ModelError, match="holds objects of too many classes; expected: 200 at most"):
        read_file(tmp_path / "y.pth")


@pytest.mark.parametrize("protocol", [4, 5])
def test_another_pickle_protocol_is_named(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "x.pth"
    torch.save({"epoch": 3, "model": STATE}, path, pickle_protocol=protocol)
    with pytest.raises(ModelError, match=f"of pickle protocol {protocol}; expected: protocol 2, .*; fix: save it"):
        read_file(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(ModelError, match="is a TorchScript program; expected: weights; fix: save the weights alone"):
        read_file(path)


def test_a_bare_pickle(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(ModelError, match="the checkpoint"):
        read_file(path)


def test_names_are_cut_short() -> None:
    assert shown(["a", "b", "c"]) == "a, b, c"
    assert shown(iter("abcd")) == "a, b, c, ..."


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("part", [0.0, 0.0005, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"x{suffix}"
    safetensors.torch.save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ModelError, match=r"the checkpoint .*x") as caught:
        read_file(path)
    assert str(path) in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x80\x02", b"PK\x03\x04", b"\x00" * 100, b"{}" * 50])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_other_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="the checkpoint"):
        read_file(path)


def test_another_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match="cannot be read"):
        read_file(path)


@pytest.mark.parametrize("name", ["absent.pth", f"{'x' * 300}.pth"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="does not exist; expected: a") as caught:
        read_file(tmp_path / name)
    assert caught.value.what == f"the checkpoint {tmp_path / name} does not exist"
