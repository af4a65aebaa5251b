"""The commands, one a file, each imported when it is asked for.

Rule: the list of commands is shown without importing one, so `COMMANDS` holds their summaries.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from importlib import import_module

import click

from ...runtime.version import __version__

__all__ = ["COMMANDS", "cli"]

COMMANDS: Mapping[str, str] = {
    "bench": "Measure a bundle (a folder) or an ONNX classifier on this machine.",
    "build": "Train, compress, fine-tune, quantize, prove, and write a bundle.",
    "compile": "Build a bundle's TensorRT engine on this machine's GPU and put it into the cache.",
    "inspect": "Show a bundle's layers, kernels, sizes (bytes), provenance, measured numbers and digest.",
    "replay": "Replay a VERDICT (a file that bench stored) on bundles (folders) and ONNX classifiers.",
    "search": "Search the compression of each layer under a budget, for held-out robust accuracy.",
    "study": "Carry out a paper's table or figure, and show its values beside ours.",
    "unpack": "Write a bundle's integer graph as a plain ONNX file, the very bytes that an engine runs.",
    "verify": "Check every file's hash, count integer kernels, and compare twin and engine bit for bit.",
}
"""The first sentence of each command's help. The command is in the file of its name."""


class _Commands(UserDict[str, click.Command]):
    """The commands by name; looking one up imports it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = dict.fromkeys(COMMANDS)  # type: ignore[assignment]

    def __getitem__(self, name: str) -> click.Command:
        if self.data[name] is None:
            module = import_module(f"{__name__}.{name}")
            self.data[name] = next(value for value in vars(module).values() if _is_command(value, name))
        return self.data[name]


def _is_command(value: object, name: str) -> bool:
    return isinstance(value, click.Command) and value.name == name


class _Group(click.Group):
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Group,
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="toolchain")
def cli() -> None:
    """Compress, fine-tune, quantize, prove and ship image classifiers.

    \b
    toolchain build --robust            Fashion-MNIST: train, prune, fine-tune against attacks, quantize, prove
    toolchain search demo --budget macs=5e6   compression by layer under a budget: a Pareto front of recipes
    toolchain compile out/trt           the TensorRT engine of a bundle built with --target tensorrt, for this GPU
    toolchain bench out/fashion-mnist   latency, memory, clean and robust accuracy of the engine on this machine
    toolchain replay VERDICT ENGINE...  the adversarial images that bench stored, on any engine
    toolchain study table3 --scale 0.01 a paper's table, its values beside ours
    toolchain unpack out/fashion-mnist  the integer graph as a plain ONNX file, for other tools
    toolchain verify out/fashion-mnist  hashes, integer kernels, and twin against engine, bit for bit

    Every command takes --debug to show a traceback instead of one line.
    """
