"""The images that prove a bundle on another machine, with the logits that the twin gives: `proof.npz`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError, DataError
from ..files.npz import read_arrays
from .reader import Bundle

__all__ = ["MOST_PROOF_BYTES", "MOST_PROOF_IMAGES", "PROOF_NAME", "read_proof"]

PROOF_NAME = "proof.npz"

MOST_PROOF_BYTES = 2**30
"""Bytes of a proof's arrays, unpacked: its images may have 3 x 1024 x 1024 pixels."""

MOST_PROOF_IMAGES = 256
"""Images of a proof; a build stores 64. Zeros pack so well that a small file could hold millions."""


def read_proof(bundle: Bundle) -> tuple[NDArray[Any], NDArray[Any]]:
    """The stored images, uint8 [N, ...], and the twin's logits, floats [N, ...].

    Raises:
        BundleError: the bundle has none, or one that cannot be used.
        IntegrityError: it differs from its record.
    """
    content, what = bundle.read(PROOF_NAME), f"{bundle.path}: {PROOF_NAME}"
    try:
        arrays, _ = read_arrays(bundle.path / PROOF_NAME, ("images", "logits"), most=MOST_PROOF_BYTES, stored=content)
        images, logits = arrays["images"], arrays["logits"]
    except (KeyError, DataError) as error:
        raise BundleError(what, expected="arrays images and logits", got=str(error)) from error
    if images.dtype != np.uint8 or not np.issubdtype(logits.dtype, np.floating) or not images.ndim * logits.ndim:
        got = f"{images.dtype} {list(images.shape)} and {logits.dtype} {list(logits.shape)}"
        raise BundleError(what, expected="uint8 images and float logits", got=got)
    if not len(images) == len(logits) <= MOST_PROOF_IMAGES:
        expected, got = f"as many images as logits, at most {MOST_PROOF_IMAGES}", f"{len(images)} and {len(logits)}"
        raise BundleError(what, expected=expected, got=got)
    return images, logits
