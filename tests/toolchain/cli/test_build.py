"""`toolchain build`: every flag reaches its key, and every slip is one line with exit code 2."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import pytest
import torch

import hardtemper
from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.cli import cli
from hardtemper.toolchain.models.cnn8 import CNN8
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning

Fails = Callable[..., str]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "no/such.npz"], "no/such.npz does not exist; expected: an .npz file"),
        (["--data", "no/such/folder"], "no/such/folder is not a data set"),
        (["--data", "fashon-mnist"], "unknown data set 'fashon-mnist'"),
        (["--data", "no_such_module:data"], "no module named 'no_such_module'"),
        (["--model", "squeezenet1_1"], "squeezenet1_1 does not run on images of this shape; expected: a network for"),
        (["--model", "resnt18"], "did you mean 'resnet18'?"),
        (["--model", "none.pt2"], "none.pt2 does not exist"),
        (["--checkpoint", "none.pth"], "none.pth"),
        (["--recipe", "fashon-mnist"], "did you mean 'fashion-mnist'?"),
        (["--recipe", "none.toml"], "the recipe none.toml does not exist"),
        (["--set", "finetune.epoch=3"], "unknown recipe key 'finetune.epoch'"),
        (["--set", "finetune.epoch=3"], "fix: did you mean 'finetune.epochs'?"),
        (["--set", "finetune.epochs=many"], "recipe key 'finetune.epochs'; expected: a valid integer"),
        (["--set", "finetune.epochs"], "--set; expected: KEY=VALUE; got: finetune.epochs"),
        (["--sparsity", "0.99"], "sparsity 0.99 would leave no filter of a layer: features.0"),
        (["--sparsity", "1"], "recipe key 'compress.filters.sparsity'; expected: less than 1"),
        (["--width", "0"], "recipe key 'model.width'; expected: greater than or equal to 1"),
        (["--epochs", "-1"], "recipe key 'finetune.epochs'; expected: greater than or equal to 0"),
        (["--seed", "-1"], "recipe key 'seed'"),
        (["--threat", "linf:8"], "radius of a threat model out of range"),
        (["--set", "name=../up"], "recipe key 'name'"),
        (["--set", "train.batch_size=1000"], "train.batch_size: too few training images"),
    ],
)
def test_bad_input_of_build(fails: Fails, recipe: Path, tmp_path: Path, flags: list[str], message: str) -> None:
    assert message in fails("build", "--recipe", recipe, "--out", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_an_unknown_key_in_a_recipe_file(fails: Fails, settings: dict[str, Any], toml: Callable[..., Path]) -> None:
    settings["train"] |= {"epoch": 3}
    line = fails("build", "--recipe", toml(settings))
    assert line.startswith("unknown recipe key 'train.epoch'; expected: train.epochs, ")
    assert line.endswith("fix: did you mean 'train.epochs'?")


def test_a_recipe_file_that_is_no_toml(fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[train\n")
    assert "broken.toml is no TOML; got: " in fails("build", "--recipe", path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_idx_file(fails: Fails, recipe: Path, tmp_path: Path, zipped: bool) -> None:
    for split, n in (("train", 40), ("t10k", 8)):
        for name, shape in (("images-idx3", (n, 16, 16)), ("labels-idx1", (n,))):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
            content = header + bytes(int(np.prod(shape)))
            if (split, name) == ("train", "images-idx3"):
                content = gzip.compress(content)[:-20] if zipped else content[:-1]
            (tmp_path / f"{split}-{name}-ubyte").write_bytes(content)
    line = fails("build", "--recipe", recipe, "--data", "mnist", "--data-root", tmp_path)
    assert f"{tmp_path}/train-images-idx3-ubyte: " in line
    assert ("not a whole gzip file" if zipped else "truncated; expected: 10256 bytes") in line


def test_a_network_for_other_images(
    fails: Fails, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_of_a_user.py").write_text(
        "import torch\n"
        "def colour():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(3600, 4))\n"
        "def too_many():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 5))\n"
        "def broken():\n"
        "    return 1 / 0\n"
    )
    monkeypatch.chdir(tmp_path)
    for factory, message in (
        ("colour", "does not run on images of this shape; expected: a network for float32 [2, 1, 16, 16]"),
        ("too_many", "does not give one logit a class; expected: float logits [2, 4]"),
        ("broken", "failed; got: ZeroDivisionError: division by zero"),
        ("nothing", "nets_of_a_user has no 'nothing'"),
    ):
        assert message in fails("build", "--recipe", recipe, "--model", f"nets_of_a_user:{factory}")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".work"] == []


def test_an_existing_out_fails_before_anything_is_read(fails: Fails, recipe: Path, tiny: Any) -> None:
    line = fails("build", "--recipe", recipe, "--out", tiny.path, "--data", "no/such.npz")
    assert line == f"{tiny.path}: exists already; fix: choose another path, or overwrite the bundle"
    assert "no/such.npz" in fails(
        "build", "--recipe", recipe, "--out", tiny.path, "--data", "no/such.npz", "--overwrite"
    )
    hardtemper.load(tiny.path)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `toolchain build` hands on, which then builds nothing, as if interrupted; in an empty folder."""
    found: dict[str, Any] = {}

    def spy(resolved: Any, **options: Any) -> None:
        found.update(options, recipe=resolved)
        raise KeyboardInterrupt

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.build", spy)
    monkeypatch.chdir(tmp_path)
    return found


def test_every_flag_of_build_reaches_its_key(recipe: Path, given: dict[str, Any]) -> None:
    flags = ["--standard", "--data", "svhn", "--data-root", "r", "--model", "m", "--width", "3", "--checkpoint", "c"]
    flags += [
        "--sparsity",
        "0.25",
        "--epochs",
        "9",
        "--threat",
        "l2:0.5",
        "--objective",
        "mart",
        "--scales",
        "free",
        "--seed",
        "4",
    ]
    flags += ["--class-order", "natural", "--set", "train.epochs=7", "--set", "model.hidden=5", "--keep-work"]
    flags += ["--set", "compress.filters.keep=['features.0']", "--set", "adversary.attack=fgsm"]
    assert main(["build", "--recipe", str(recipe), *flags]) == 130
    made = given["recipe"]
    assert (made.robust, made.seed, made.name) == (False, 4, "m-svhn")
    assert (made.data.name, made.data.root, made.data.heldout) == ("svhn", Path("r"), 64)
    assert made.data.class_order == "natural"
    assert (made.model.name, made.model.width, made.model.checkpoint) == ("m", 3, Path("c"))
    assert made.model.hidden == 5
    assert made.compress == (FilterPruning(sparsity=0.25, keep=("features.0",)),)
    assert (made.finetune.epochs, made.train.epochs, made.train.batch_size) == (9, 7, 32)
    assert (made.adversary.threat, made.adversary.attack, made.quantize.scales) == ("l2:0.5", "fgsm", "free")
    assert made.adversary.objective == "mart"
    assert (given["out"], given["overwrite"], given["keep_work"]) == (Path("out/m-svhn"), False, True)
    assert main(["build", "--recipe", str(recipe), "--robust", "--overwrite", "--out", "there"]) == 130
    assert given["recipe"].robust is True
    assert (given["out"], given["overwrite"], given["keep_work"]) == (Path("there"), True, False)
    assert given["recipe"].name == "tiny"  # it is what the recipe makes


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--model", "net.v2.pt2", "--data", "a b/Ä c.npz"], "net.v2-Ä-c"),
        (["--model", "some.package:net", "--data", "mnist"], "some.package-net-mnist"),
        (["--data", "some.package:data", "--out", "x/.the place"], "the-place"),
        (["--data", "mnist", "--set", "name=mine", "--out", "there"], "mine"),
    ],
)
def test_another_model_or_data_has_another_name(
    recipe: Path, given: dict[str, Any], flags: list[str], name: str
) -> None:
    assert main(["build", "--recipe", str(recipe), *flags]) == 130
    assert given["recipe"].name == name
    assert given["out"] == Path(flags[-1] if "--out" in flags else f"out/{name}")


def test_the_objectives_of_the_flag_are_the_recipes() -> None:
    (flag,) = (parameter for parameter in cli.commands["build"].params if parameter.name == "objective")
    assert isinstance(flag.type, click.Choice)
    assert tuple(flag.type.choices) == get_args(Adversary.model_fields["objective"].annotation)


def test_a_whole_build(
    capsys: pytest.CaptureFixture[str], recipe: Path, tiny: Any, tmp_path: Path, lower_once: None
) -> None:
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")
    assert main(["build", "--recipe", str(recipe), "--out", str(tmp_path / "out"), "--keep-work"]) == 0
    captured = capsys.readouterr()
    for shown in (
        "features.0",
        "4 -> 2",
        "whole network",
        "dense, standard",
        "integer twin",
        "100.0% of",
        "model.onnx",
    ):
        assert shown in captured.out
    assert "cnn8 of width 4, hidden 16" in captured.out
    assert "parity: done, 0 logits differ" in captured.err
    assert (tmp_path / "out.work" / "finetune.pt").exists()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["name"] == "tiny"


def test_download_reaches_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def run(recipe: Any, **_: object) -> None:
        seen.append(recipe.data.download)
        raise RecipeError("stop here")

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.build", run)
    for arguments in (["build", "--download"], ["build"]):
        assert main(arguments) == 2
    assert seen == [True, False]


def test_the_last_line_is_the_bundles_digest(
    recipe: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hardtemper.toolchain.api.build", lambda *_, **__: tiny.build)
    assert main(["build", "--recipe", str(recipe)]) == 0
    digest = hashlib.sha256((tiny.path / "manifest.json").read_bytes()).hexdigest()
    assert capsys.readouterr().out.splitlines()[-1] == f"digest: {digest}"
    assert hardtemper.load(tiny.path, digest=digest).labels


def test_what_was_left_out_is_said_at_once_and_stored(
    settings: dict[str, Any], toml: Callable[..., Path], npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(npz) as stored:
        np.savez(tmp_path / "more.npz", **stored, val_images=np.zeros(3))
    net = CNN8(4, hidden=16, classes=4, image_size=16)
    torch.save({"state_dict": net.state_dict(), "best_acc1": np.float64(91.2), "epoch": 3}, tmp_path / "net.pth")
    settings["data"]["name"] = str(tmp_path / "more.npz")
    settings |= {"robust": False}
    settings["finetune"] = settings["finetune_twin"] = {"epochs": 0}
    arguments = ["--checkpoint", str(tmp_path / "net.pth"), "--out", str(tmp_path / "out")]
    assert main(["build", "--recipe", str(toml(settings)), *arguments]) == 0
    captured = capsys.readouterr()
    assert "data: done, arrays left out: 1 (val_images)\n" in captured.err
    training = json.loads((tmp_path / "out" / "manifest.json").read_text())["proofs"]["training"]
    assert training["data_notes"] == ["arrays left out: 1 (val_images)"]
    words = "the weights under 'state_dict', not best_acc1 (numpy._core.multiarray.scalar), epoch"
    assert training["network"] == f"cnn8 of width 4, hidden 16, checkpoint {tmp_path / 'net.pth'}; {words}"
    assert "best_acc1" in captured.out
    assert "val_images" in captured.out
