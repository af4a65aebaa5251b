"""`toolchain bench`: size, latency, memory and accuracies of a bundle's engine or of any ONNX classifier."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...runtime.backends.table import PROCESSOR_BACKENDS
from ..api import DEFAULT_DATA

if TYPE_CHECKING:
    from ...bench.report.report import BenchReport

__all__ = ["bench"]


def _count(_: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """A number of 1 or more; None for "all"."""
    if value == "all":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"expected a number of 1 or more, or 'all'; got {value!r}", param=parameter)
    return int(value)


@click.command(epilog="Example: toolchain bench out/fashion-mnist --attack quick --images 500 --json bench.json")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--data",
    help="Data set name, image folder, .npz or package.module:factory.  "
    f"[default: the bundle's, if that is known by name, or {DEFAULT_DATA}]",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder to look in first for a data set by name.")
@click.option("--download", is_flag=True, help="Download a named data set where no folder holds it.")
@click.option(
    "--image-size",
    type=click.IntRange(min=8),
    help="Side in pixels to resize images to.  [default: the bundle's, or as stored]",
)
@click.option(
    "--class-order",
    metavar="name|natural|FILE",
    help="Order of an image folder's classes: as strings, numbers as numbers, or as a text file lists them.  "
    "[default: the bundle's, or name]",
)
@click.option(
    "--backend",
    "backends",
    type=click.Choice(PROCESSOR_BACKENDS),
    multiple=True,
    default=("onnxruntime",),
    show_default=True,
    help="Whose engines to measure, in turns; may be given several times.",
)
@click.option(
    "--images",
    callback=_count,
    metavar="N|all",
    default="500",
    show_default=True,
    help="Test images to attack, at most.",
)
@click.option(
    "--clean-images",
    callback=_count,
    metavar="N|all",
    default="all",
    show_default=True,
    help="Test images for clean accuracy, at most.",
)
@click.option("--robust/--no-robust", default=True, show_default=True, help="Attack the engine, or leave that out.")
@click.option(
    "--attack",
    default="default",
    show_default=True,
    help="Attacks, separated by commas: paper (PGD-20), quick, default, standard (AutoAttack's ensemble and transfer), "
    "full, or single ones such as apgd-ce,square.",
)
@click.option(
    "--transfer",
    multiple=True,
    metavar="PATH",
    help="Try candidates made on this bundle or ONNX file too; may be given several times.",
)
@click.option(
    "--threat",
    help="norm:epsilon in units of pixel / 255, such as linf:8/255.  "
    "[default: the bundle's adversary's, or linf:0.1 for gray and linf:8/255 for colour images]",
)
@click.option(
    "--dense/--no-dense",
    default=True,
    show_default=True,
    help="Measure a bundle's dense float network beside its engine.",
)
@click.option(
    "--sequential/--no-sequential",
    default=None,
    help="Attack only what withstood the attacks before: same union, less time.  [default: for standard and full]",
)
@click.option(
    "--curves",
    is_flag=True,
    help="Robust accuracy over radius and steps, minimal perturbations and CLEVER scores, on 200 attacked images.",
)
@click.option(
    "--corruptions", is_flag=True, help="Accuracy under 15 common corruptions at 5 severities, on --images images."
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the verdicts with their adversarial images, from which an interrupted run goes on.  "
    "[default: TARGET.bench]",
)
@click.option("--store", is_flag=True, help="Store the numbers and alarms in the bundle's manifest: another digest.")
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 64),
    show_default=True,
    help="Images a call for latency and memory; may be given several times.",
)
@click.option(
    "--threads",
    callback=_count,
    metavar="N|all",
    default="1",
    show_default=True,
    help="Threads for latency and memory.",
)
@click.option(
    "--warmup", type=click.IntRange(min=0), default=10, show_default=True, help="Calls before the timed ones."
)
@click.option("--repeats", type=click.IntRange(min=1), default=50, show_default=True, help="Timed calls at least.")
@click.option(
    "--min-seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Timed seconds at least, for each batch size.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the choice of images and of the attacks.",
)
@click.option("--digest", help="A bundle's, as build printed it: no other bundle is measured.  [default: any]")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit code 1 where an alarm is raised, or a robust accuracy is withheld or missing.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Store the report there as JSON."
)
def bench(target: Path, *, strict: bool, **settings: Any) -> None:
    """Measure a bundle (a folder) or an ONNX classifier on this machine.

    Size (bytes), latency (ms), peak memory (MiB), clean accuracy and robust accuracy (%). A bundle's engine is measured
    beside the dense float network that it was made from, in one run, each on every --backend. An ONNX file takes 8-bit
    pixels, or floats in [0, 1], as [N, C, H, W]; it is attacked white-box on its twin where the twin knows its
    operators. An interrupted run goes on where it stopped when the same command is given again.
    """
    from ...bench.report.text import report_lines, report_table
    from ...runtime.printable import printable
    from ..api import bench as run
    from .console import console, errors, progress_bars

    if not settings["robust"]:
        _refuse_of_attacks()

    def show(report: BenchReport) -> None:
        bars.close()
        console.print(report_table(report))
        for line in report_lines(report):
            errors.print(printable(line), markup=False, soft_wrap=True)

    with ExitStack() as bars:
        report = run(target, show=show, progress=bars.enter_context(progress_bars()), **settings)
    if strict:
        report.gate()


def _refuse_of_attacks() -> None:
    """Options that say how to attack, given where nothing is attacked."""
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in ("attack", "transfer", "threat", "sequential", "curves")
        and context.get_parameter_source(parameter.name) is not click.core.ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"--no-robust attacks nothing: leave {', '.join(given)} out")
