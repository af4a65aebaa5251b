"""The command line: exit codes, one line for every error, and help that tells defaults, units and an example."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import pytest

import hardtemper
from hardtemper.runtime.errors import DataError, HardtemperError, RecipeError
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.cli import cli
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning

Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that must fail; gives its one line of error, without "error: "."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert captured.err.endswith(f"{line}\n")
        assert "'" in line or ":" in line.removeprefix("error: ")
        return line.removeprefix("error: ")

    return run


@pytest.fixture
def recipe(settings: dict[str, Any], toml: Callable[..., Path]) -> Path:
    return toml(settings)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["biuld"], "No such command 'biuld'"),
        (["build", "--epoks", "3"], "No such option"),
        (["build", "--epochs", "three"], "'three' is not a valid integer"),
        (["build", "--scales", "any"], "'any' is not one of 'power-of-two', 'free'"),
        (["verify"], "Missing argument 'BUNDLE'"),
        (["verify", "x", "--images", "-1"], "-1 is not in the range x>=0"),
        (["inspect", "a", "b"], "unexpected extra argument"),
    ],
)
def test_bad_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Usage: toolchain" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: toolchain" in "".join(capsys.readouterr())


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"toolchain, version {hardtemper.__version__}\n"


def test_debug_shows_the_traceback(recipe: Path, tmp_path: Path) -> None:
    arguments = ["build", "--recipe", str(recipe), "--out", str(tmp_path / "out"), "--data", "no/such.npz"]
    for debug in (["--debug", *arguments], [*arguments, "--debug"]):
        with pytest.raises(DataError, match=r"no/such\.npz"):
            main(debug)


def test_an_error_of_several_lines_becomes_one(
    capsys: pytest.CaptureFixture[str], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise HardtemperError("first\nsecond", got="third\n")

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.build", fail)
    assert main(["build", "--recipe", str(recipe)]) == 1
    assert capsys.readouterr().err == "error: first second; got: third\n"


@pytest.mark.parametrize(
    ("arguments", "function", "message"),
    [
        (["build"], "build.build", "interrupted; the same command goes on where it stopped"),
        (["build", "--debug"], "build.build", "interrupted; the same command goes on where it stopped"),
        (["verify", "x"], "verify.verify_bundle", "interrupted"),
    ],
)
def test_ctrl_c(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    function: str,
    message: str,
) -> None:
    def press(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"hardtemper.toolchain.{function}", press)
    assert main(arguments) == 130
    assert capsys.readouterr().err.strip() == message


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
    flags += ["--set", "train.epochs=7", "--set", "model.hidden=5", "--keep-work"]
    flags += ["--set", "compress.filters.keep=['features.0']", "--set", "adversary.attack=fgsm"]
    assert main(["build", "--recipe", str(recipe), *flags]) == 130
    made = given["recipe"]
    assert (made.robust, made.seed, made.name) == (False, 4, "m-svhn")
    assert (made.data.name, made.data.root, made.data.heldout) == ("svhn", Path("r"), 64)
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


NO_DEFAULT = {"--data-root", "--checkpoint", "--set", "--json", "--image-size", "--transfer"}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_tells_defaults_and_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: toolchain {name} " in text
    for parameter in cli.commands[name].params:
        if not isinstance(parameter, click.Option):
            continue
        assert parameter.opts[0] in text
        assert parameter.help
        if not parameter.is_flag and parameter.opts[0] not in NO_DEFAULT:
            assert parameter.show_default or "[default: " in parameter.help, parameter.opts


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("build", ["units of pixel / 255", "0 <= s < 1", "Epochs of"]),
        ("bench", ["(bytes)", "(ms)", "(MiB)", "(%)", "in pixels", "seconds", "units of pixel / 255"]),
        ("compile", ["compile out/trt --target tensorrt", "built with --target tensorrt", "in MiB"]),
        ("inspect", ["(bytes)"]),
        ("replay", ["Counts images", "(%)"]),
        ("verify", ["Random images", "Exit code 1 when a gate fails: a file"]),
    ],
)
def test_help_tells_units(capsys: pytest.CaptureFixture[str], name: str, units: list[str]) -> None:
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [unit for unit in units if unit not in text] == []


def test_the_help_of_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    assert "--debug" in text
    assert all(f"toolchain {name}" in text for name in ("build", "bench", "replay", "verify"))
    assert "toolchain compile out/trt " in text  # out/fashion-mnist is not quantized for TensorRT


@pytest.mark.parametrize("package", ["click", "rich", "pydantic", "torch"])
def test_a_package_that_is_not_installed(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from hardtemper.toolchain.__main__ import main; "
    code += "sys.exit(main(['inspect', 'x']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: the command line needs the package '{package}', which is not installed; "
        "fix: pip install 'hardtemper[build]'\n"
    )


def test_errors_leave_a_process_with_their_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hardtemper.toolchain", "inspect", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}: not a bundle")
    assert done.stderr.count("\n") == 1
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, timeout=120, check=False)
    assert debug.returncode == 1
    assert "Traceback (most recent call last)" in debug.stderr
    assert "BundleError" in debug.stderr


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
