"""`toolchain compile`: a bundle's engine for this machine's GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...export.quantization.targets import TARGETS

if TYPE_CHECKING:
    from rich.table import Table

    from ..bundles.compile_engine import Compilation

__all__ = ["compile_"]

_COMPILED = [target.name for target in TARGETS.values() if target.compiles]


@click.command(
    name="compile",
    epilog="Example: toolchain compile out/trt --target tensorrt --batch 1:64:1024 (out/trt: built with "
    "--target tensorrt)",
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--target",
    type=click.Choice(_COMPILED),
    default=_COMPILED[0],
    show_default=True,
    help="What to compile for.",
)
@click.option("--fp16", is_flag=True, help="float16 for what stays float.")
@click.option(
    "--batch",
    "batches",
    multiple=True,
    metavar="MIN:OPT:MAX",
    default=("1:64:256",),
    show_default=True,
    help="Batch sizes of a profile, OPT being timed; may be given several times.",
)
@click.option("--dense", is_flag=True, help="The dense float network, for comparison.")
@click.option("--tune", is_flag=True, help="Time quantizer placements that compute the same; keep the fastest.")
@click.option("--version-compatible", is_flag=True, help="Later TensorRT versions may run the engine, lean ones too.")
@click.option("--hardware-compatible", is_flag=True, help="Every GPU from compute capability 8.0 on may run it.")
@click.option(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Scratch memory a kernel may take, in MiB.  [default: all]",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The cache.  [default: ~/.cache/hardtemper/engines]"
)
@click.option("--rebuild", is_flag=True, help="Build it although the cache holds it.")
@click.option(
    "--engine",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Engine from elsewhere to take instead.  [default: build]",
)
@click.option("--trust-engine", is_flag=True, help="Let --engine run: to open an engine is to run its code.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Store layers and timings as JSON."
)
def compile_(
    bundle: Path,
    *,
    target: str,
    fp16: bool,
    batches: tuple[str, ...],
    dense: bool,
    tune: bool,
    version_compatible: bool,
    hardware_compatible: bool,
    workspace: int | None,
    out: Path | None,
    rebuild: bool,
    engine: Path | None,
    trust_engine: bool,
    json_path: Path | None,
) -> None:
    """Build a bundle's TensorRT engine on this machine's GPU and put it into the cache.

    TensorRT's own inspector says which layers compute on int8; exit code 1 when fewer MACs do than the recipe asks for.
    An engine of the same graph, GPU, TensorRT and options that the cache holds is not built again.
    """
    from ...export.tensorrt.engine_builder import Options
    from ...export.tensorrt.profiles import BatchRange
    from ...runtime.backends.tensorrt.cache import cache_folder
    from ..bundles.compile_engine import compile_bundle, import_engine
    from .console import console, progress_bars
    from .json_file import write_json

    folder = out or cache_folder()
    if engine is not None:
        result = import_engine(bundle, engine, folder=folder, trust=trust_engine)
    else:
        options = Options(
            batches=tuple(BatchRange.parse(text) for text in batches),
            fp16=fp16,
            version_compatible=version_compatible,
            hardware_compatible=hardware_compatible,
            workspace_mib=workspace,
        )
        with progress_bars() as progress:
            result = compile_bundle(
                bundle, options=options, folder=folder, dense=dense, tune=tune, rebuild=rebuild, progress=progress
            )
    for table in _tables(result):
        console.print(table)
    if json_path is not None:
        content = {
            "entry": json.loads(result.entry.to_json()),
            "kernels": None if result.kernels is None else result.kernels.to_json(),
            "layers": [layer.to_json() for layer in result.layers],
            "milliseconds": dict(result.timings),
        }
        write_json(json_path, content)


def _tables(result: Compilation) -> list[Table]:
    from rich.table import Table

    entry = result.entry
    summary = Table(title=str(result.path), show_header=False)
    summary.add_row("GPU", f"{entry.gpu}, compute capability {entry.compute_capability}, CUDA {entry.driver}")
    summary.add_row("TensorRT", entry.tensorrt)
    summary.add_row("batch sizes", ", ".join(":".join(map(str, sizes)) for sizes in entry.profiles))
    for name, value in entry.flags.items():
        summary.add_row(name.replace("_", " "), value if isinstance(value, str) else "yes" if value else "no")
    if result.kernels is None:
        summary.add_row("built", "before; --rebuild builds it again")
        return [summary]
    summary.add_row("MACs in int8 kernels", f"{result.kernels.integer_share:.1%} of {result.kernels.macs:,}")
    for placement, milliseconds in result.timings.items():
        summary.add_row(placement, f"{milliseconds:.4f} ms" if milliseconds < float("inf") else "too few int8 kernels")
    layers = Table(title="Layers")
    for column in ("layer", "kind", "reads", "weights", "gives", "tactic", "MACs", "int8"):
        layers.add_column(column, justify="right" if column == "MACs" else "left")
    # one kernel for each layer, in order; kernels that no layer names come last
    for index, kernel in enumerate(result.kernels.kernels):
        layer = result.layers[index] if index < len(result.layers) else None
        layers.add_row(
            kernel.name,
            kernel.operator,
            "" if layer is None else ", ".join(layer.inputs),
            "" if layer is None else layer.weights,
            ", ".join(kernel.output_types),
            "" if layer is None else layer.tactic,
            f"{kernel.macs:,}" if kernel.macs else "",
            "yes" if kernel.integer else kernel.reason,
        )
    return [layers, summary]
