"""`toolchain inspect`: what is in a bundle, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["inspect"]


@click.command(epilog="Example: toolchain inspect out/fashion-mnist")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Digest and manifest as JSON instead of tables.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show a bundle's layers, kernels, sizes (bytes), provenance, measured numbers and digest."""
    from ...runtime.bundle.reader import read_bundle
    from .console import console
    from .tables import bundle_report

    read = read_bundle(bundle)
    if as_json:
        said = {"digest": read.digest, **json.loads(read.manifest.to_json())}
        console.print(json.dumps(said, indent=2), soft_wrap=True, markup=False, highlight=False, emoji=False)
        return
    for table in bundle_report(read.manifest):
        console.print(table)
    console.print(f"digest: {read.digest}", soft_wrap=True)
