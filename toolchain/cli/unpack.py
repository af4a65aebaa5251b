"""`toolchain unpack`: a bundle's graph as a plain ONNX file, for other tools."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["unpack"]


@click.command(epilog="Example: toolchain unpack out/fashion-mnist --out model.onnx")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("model.onnx"),
    show_default=True,
    help="The file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
@click.option("--digest", help="The bundle's, as build printed it: no other bundle passes.  [default: any]")
def unpack(bundle: Path, *, out: Path, overwrite: bool, digest: str | None) -> None:
    """Write a bundle's integer graph as a plain ONNX file, the very bytes that an engine runs.

    For tools that open ONNX files, such as trtexec and Netron: a bundle may store its graph packed.
    """
    from ...runtime.bundle.reader import read_bundle
    from ...runtime.errors import InputError
    from ...runtime.files.atomic import write_whole
    from .console import console

    graph = read_bundle(bundle, digest=digest).graph()
    content = graph.whole()
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already", fix="choose another --out, or give --overwrite")
    try:
        write_whole(out, content)
    except OSError as error:
        raise InputError(f"{out}: cannot be written", got=error.strerror or str(error)) from None
    stored = sum(map(len, graph.stored))
    console.print(f"{out}: {len(content):,} bytes, of {stored:,} in {graph.path.name}", soft_wrap=True)
