"""`toolchain inspect`: what is in a bundle, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["inspect"]


@click.command(epilog="Example: toolchain inspect out/fashion-mnist")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The manifest as JSON instead of tables.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show a bundle's layers, kernels, sizes (bytes), provenance and measured numbers."""
    from ...runtime.bundle.reader import read_bundle
    from .console import console
    from .tables import bundle_report

    manifest = read_bundle(bundle).manifest
    if as_json:
        console.print(json.dumps(json.loads(manifest.to_json()), indent=2), soft_wrap=True)
        return
    for table in bundle_report(manifest):
        console.print(table)
