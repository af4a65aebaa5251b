"""`toolchain replay`: a stored verdict's adversarial images on any engine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...runtime.backends.table import PROCESSOR_BACKENDS
from ...runtime.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from ...bench.measurement import Measurement, Setting
    from ...bench.robustness.replay_verdict import Replay
    from ...runtime.engine import Engine

__all__ = ["replay"]


@click.command(epilog="Example: toolchain replay out/net.bench/VERDICT.npz out/net")
@click.argument("verdict", type=click.Path(path_type=Path))
@click.argument("engines", metavar="ENGINE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--backend",
    type=click.Choice(PROCESSOR_BACKENDS),
    help="What runs the engines.  [default: what ran the verdict's]",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Store the counts there as JSON."
)
def replay(verdict: Path, engines: tuple[Path, ...], backend: str | None, json_path: Path | None) -> None:
    """Replay a VERDICT (a file that bench stored) on bundles (folders) and ONNX classifiers.

    Hashes are checked, and that every image lies inside the threat model's ball. Counts images: those that the engine
    gets right as they are, those of each attack's adversarial images that still break it, and what is left robust (%)
    with its 95 % Wilson interval. On the graph and backend that they were made for that is the verdict itself: exit
    code 1 where the file says another. On any other it is an upper bound. Needs neither torch nor the data set.
    """
    from ...bench.robustness.archive import read_archive
    from ...bench.robustness.replay_verdict import replay as run
    from .console import console, progress_bars
    from .json_file import write_json

    archive = read_archive(verdict)
    threat = str(archive.threat)
    chosen = backend or archive.backend
    opened = [(path, *_open(path, chosen, verdict, archive.images.shape[1:])) for path in engines]
    with progress_bars() as progress:
        found = [
            run(archive, engine, name=str(path), graph_sha256=digest, backend=chosen, progress=progress)
            for path, engine, digest in opened
        ]
    for result in found:
        console.print(_table(result, threat))
    if json_path is not None:
        rows = [
            result.to_dict() | {"measurements": [share.to_dict() for share in _shares(result, threat)]}
            for result in found
        ]
        content = {"format_version": 1, "verdict": str(verdict), "threat": threat, "engines": rows}
        write_json(json_path, content, sort_keys=True)
    for result in found:
        result.gate()


def _open(path: Path, backend: str, verdict: Path, shape: tuple[int, ...]) -> tuple[Engine, str]:
    """The engine and the digest of its graph; what it warns of is printed."""
    from ...bench.compatibility import check_image_shape
    from ...runtime.bundle.reader import read_bundle
    from ...runtime.engine import is_onnx_file, load, open_onnx
    from ...runtime.files.onnx_file import read_onnx
    from .console import errors

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bundle = None if is_onnx_file(path) else read_bundle(path)
        graph = read_onnx(path) if bundle is None else bundle.graph()
        engine = open_onnx(graph, backend=backend) if bundle is None else load(bundle, backend=backend)
    check_image_shape(engine, shape, str(verdict), path, fix="name an engine for the verdict's images")
    for warning in caught:
        errors.print(f"{path}: {warning.message}", markup=False, soft_wrap=True)
    return engine, graph.digest


def _shares(result: Replay, threat: str) -> tuple[Measurement, Measurement]:
    """Clean and robust accuracy, as bench gives them."""
    from ...bench.measurement import share
    from ...bench.robustness.doubt import standing, withheld

    about: dict[str, Setting] = {
        "attack": "replay",
        "threat": threat,
        "upper_bound": result.same_graph is not True,
        "standing": standing(result.alarms),
        "alarms": ", ".join(result.alarms) or "none",
    }
    name = "robust-accuracy-withheld" if withheld(result.alarms, result.robust) else "robust-accuracy"
    return share("clean-accuracy", result.clean, result.n), share(name, result.robust, result.n, **about)


def _standing(result: Replay) -> str:
    """What the robust accuracy is."""
    alarms = ", ".join(map(printable, result.alarms))
    return _origin(result) + (f"\nALARM when the verdict was made: {alarms}" if alarms else "")


def _origin(result: Replay) -> str:
    """What the candidates were made for."""
    if result.differs:
        return f"the verdict on the same graph says {result.stored_clean} and {result.stored_robust}"
    if result.same_graph:
        return "the candidates were made for the same graph: this is its verdict"
    if result.same_graph is False:
        return "an upper bound: the candidates were made for another graph, or on another backend"
    return "an upper bound, unless the candidates were made for this graph, which is not known"


def _table(result: Replay, threat: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    from ...bench.robustness.doubt import standing

    clean, robust = (
        f"{count} ({share.value:.1f} % [{share.spread[0]:.1f}, {share.spread[1]:.1f}])"
        for count, share in zip((result.clean, result.robust), _shares(result, threat), strict=True)
        if share.spread is not None
    )
    counts = f"{threat}; of {result.n} images {clean} are right as they are, {robust} withstand all"
    only = standing(result.alarms)
    caption = Text(f"{counts}{f' ({only})' if only else ''} [95 % Wilson interval]\n{_standing(result)}")
    table = Table(title=Text(result.engine), caption=caption, caption_justify="left")
    table.add_column("adversarial images of")
    for column in ("that broke their engine", "break this one", "that broke its twin only", "break this one"):
        table.add_column(column, justify="right")
    for attack in result.attacks:
        numbers = (attack.stored, attack.broken, attack.twin_only, attack.twin_only_broken)
        table.add_row(Text(attack.name), *map(str, numbers))
    return table
