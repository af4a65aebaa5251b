"""The command line: exit codes, one line for every error, and help that tells defaults, units and an example."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.cli import COMMANDS, cli

NO_DEFAULT = {"--data-root", "--checkpoint", "--set", "--json", "--image-size", "--transfer", "--budget"}


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
        ("search", ["latency_ms", "size_kib", "macs", "one thread", "held-out robust accuracy"]),
        ("unpack", ["trtexec", "the very bytes"]),
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


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_summaries_are_the_first_sentences_of_the_helps(name: str) -> None:
    command = cli.commands[name]
    assert command.name == name
    sentence = " ".join((command.help or "").split()).partition(". ")[0].rstrip(".")
    assert COMMANDS[name] == f"{sentence}."


HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "scipy", "rich", "PIL")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in sorted(COMMANDS))], ids=" ".join)
def test_help_loads_no_framework(arguments: list[str]) -> None:
    code = "import sys; from hardtemper.toolchain.__main__ import main; "
    code += f"main({arguments}); print('loaded:', *({{m for m in {HEAVY} if m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "loaded:"), done.stderr


def test_the_list_of_commands_imports_none() -> None:
    code = "import sys; from hardtemper.toolchain.__main__ import main; main(['--help']); "
    code += "print([m for m in sys.modules if m.startswith('hardtemper.toolchain.cli.') or m in ('numpy', 'pydantic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
