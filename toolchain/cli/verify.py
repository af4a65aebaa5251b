"""`toolchain verify`: whether a bundle computes on this machine what was attacked and proved."""

from __future__ import annotations

from pathlib import Path

import click

from ...runtime.backends.table import PROCESSOR_BACKENDS

__all__ = ["verify"]


@click.command(epilog="Example: toolchain verify out/fashion-mnist")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--backend",
    type=click.Choice(PROCESSOR_BACKENDS),
    default="onnxruntime",
    show_default=True,
    help="Whose engine to check.",
)
@click.option(
    "--images",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Random images to compare in addition to the proof's.",
)
@click.option(
    "--test-images",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Test images to compare, clean and under PGD-20.",
)
@click.option(
    "--data",
    help="Data set of the test images: name, image folder, .npz or package.module:factory.  "
    "[default: the bundle's, if that is known by name]",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder to look in first for a data set by name.")
@click.option("--digest", help="The bundle's, as build printed it: no other bundle passes.  [default: any]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random images.")
def verify(
    bundle: Path,
    *,
    backend: str,
    images: int,
    test_images: int,
    data: str | None,
    data_root: Path | None,
    digest: str | None,
    seed: int,
) -> None:
    """Check every file's hash, count integer kernels, and compare twin and engine bit for bit.

    Exit code 1 when a gate fails: a file that is missing, not listed or of another hash, a manifest of another digest,
    fewer MACs in integer kernels than the recipe asks for, or (power-of-two scales) one differing integer or logit.
    """
    from ...runtime.errors import GateError, IntegrityError
    from ..api import verify as run
    from .console import console, errors, progress_bars
    from .tables import verification_report

    if not test_images and (data is not None or data_root is not None):
        raise click.UsageError("--data and --data-root say where test images are: give --test-images too")
    try:
        with progress_bars() as progress:
            result = run(
                bundle,
                backend=backend,
                images=images,
                seed=seed,
                test_images=test_images,
                data=data,
                data_root=data_root,
                digest=digest,
                progress=progress,
            )
    except IntegrityError as error:  # bad input to other commands; here it is what was asked
        raise GateError(error.what, expected=error.expected, got=error.got, fix=error.fix) from error
    for table in verification_report(result):
        console.print(table)
    console.print(f"digest: {result.bundle.digest}", soft_wrap=True)
    for note in result.notes:
        errors.print(note, markup=False, soft_wrap=True)
    result.gate()
