"""Reading `proof.npz`; what `toolchain verify` says of damaged ones is tested in test_verify.py."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.bundle.proof import MOST_PROOF_IMAGES, read_proof
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import BundleError, IntegrityError


def packed(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@pytest.fixture
def stored(make_bundle: Any) -> Any:
    """Makes a bundle with this proof."""

    def make(content: bytes) -> Path:
        entry = {"path": "proof.npz", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        folder: Path = make_bundle(files=[entry])
        (folder / "proof.npz").write_bytes(content)
        return folder

    return make


IMAGES, LOGITS = np.zeros((2, 1, 8, 8), np.uint8), np.ones((2, 10), np.float32)


def test_images_and_logits(stored: Any) -> None:
    bundle = read_bundle(stored(packed(images=IMAGES, logits=LOGITS)))
    images, logits = read_proof(bundle)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(logits, LOGITS)
    (bundle.path / "proof.npz").write_bytes(packed(images=IMAGES, logits=LOGITS + 1))
    with pytest.raises(IntegrityError, match="SHA-256 differs"):
        read_proof(bundle)


def test_none(make_bundle: Any) -> None:
    with pytest.raises(BundleError, match=r"no file 'proof.npz'"):
        read_proof(read_bundle(make_bundle()))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "arrays images and logits"),
        ({"images": LOGITS, "logits": LOGITS}, "uint8 images and float logits"),
        ({"images": IMAGES, "logits": IMAGES}, "uint8 images and float logits"),
        ({"images": IMAGES, "logits": LOGITS[:1]}, "as many images as logits, at most 256; got: 2 and 1"),
        (
            {"images": np.zeros(MOST_PROOF_IMAGES + 1, np.uint8), "logits": np.zeros(MOST_PROOF_IMAGES + 1)},
            "at most 256; got: 257 and 257",
        ),
    ],
)
def test_no_proof(stored: Any, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=f"proof.npz; expected: .*{message}|{message}"):
        read_proof(read_bundle(stored(packed(**arrays))))
