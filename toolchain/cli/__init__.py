"""The commands, one a file."""

from __future__ import annotations

import click

from ... import __version__
from .bench import bench
from .build import build
from .compile import compile_
from .inspect import inspect
from .replay import replay
from .verify import verify

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="toolchain")
def cli() -> None:
    """Compress, harden, temper, prove and ship image classifiers.

    \b
    toolchain build --robust            Fashion-MNIST: train, prune, fine-tune against attacks, quantize, prove
    toolchain compile out/trt           the TensorRT engine of a bundle built with --target tensorrt, for this GPU
    toolchain bench out/fashion-mnist   latency, memory, clean and robust accuracy of the engine on this machine
    toolchain replay VERDICT ENGINE...  the adversarial images that bench stored, on any engine
    toolchain verify out/fashion-mnist  hashes, integer kernels, and twin against engine, bit for bit

    Every command takes --debug to show a traceback instead of one line.
    """


for command in (build, compile_, bench, replay, verify, inspect):
    cli.add_command(command)
