"""What the stages of a build gave -> a bundle on disk, with its provenance and the images that prove it elsewhere."""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from ...bench.data.dataset import Dataset
from ...export.bundle_writer import Contents, write_bundle
from ...export.graph_packing import pack_graph
from ...export.passes.node_pass import SkippedNode
from ...export.proofs.executed_kernels import KernelReport
from ...export.proofs.parity import ParityReport
from ...export.quantization.integer_layout import FloatOperator
from ...export.quantization.widths import LayerBits
from ...export.twin.twin import Twin
from ...runtime.bundle.manifest import Input, Output, Provenance
from ...runtime.bundle.proved_on import ProvedOn
from ...runtime.bundle.reader import Bundle
from ...runtime.cpu import cpu_name, instruction_set
from ...runtime.files.packed_graph import is_packed
from ...runtime.version import __version__
from ..compress.compressed import Compressed
from ..compress.compressed_integers import CompressedIntegers
from ..models.source import Source
from ..recipe.recipe import Recipe
from ..train.device import resolve_device
from ..train.finetune import Trained
from ..train.heldout import held_out_accuracy
from ..train.precision import resolve

__all__ = ["StageResults", "stored_graph", "write_results"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResults:
    """What the stages of a build gave.

    Attributes:
        source: the dense network.
        dense: its training.
        dense_onnx: it as a float graph of pixels.
        compressed: the hardened network and what was removed.
        tuned: the hardened network's fine-tuning.
        teacher: the training of the network that it learned from; None where there is none, or it was given.
        integers: the integer graph behind the compression steps on it, before the twin's fine-tuning.
        twin: the integer twin's fine-tuning; its module is the twin.
        model: the integer graph.
        layers: how many bits each layer has.
        skipped: nodes that a rewrite of the float graph is about and left as they are, with the reasons.
        float_operators: what stays float between integers, with the reasons.
        tie_distances: how far each function of one 8-bit tensor stays from a rounding tie, in steps.
        kernels: which kernels ran it.
        parity: twin against engine.
        proof_images: uint8 [N, C, H, W] that go into the bundle with the twin's logits.
    """

    source: Source
    dense: Trained
    dense_onnx: onnx.ModelProto
    compressed: Compressed
    tuned: Trained
    teacher: Trained | None
    integers: CompressedIntegers
    twin: Trained
    model: onnx.ModelProto
    layers: tuple[LayerBits, ...]
    skipped: tuple[SkippedNode, ...]
    float_operators: tuple[FloatOperator, ...]
    tie_distances: Mapping[str, float]
    kernels: KernelReport
    parity: ParityReport
    proof_images: npt.NDArray[np.uint8]


def write_results(recipe: Recipe, data: Dataset, results: StageResults, *, out: Path, overwrite: bool) -> Bundle:
    """Measure the twin on the held-out images and write the bundle.

    Raises:
        BundleError: `out` exists and `overwrite` is not set, or cannot be written.
    """
    whole = results.model.SerializeToString(deterministic=True)
    stored = stored_graph(recipe, whole)
    graph = "model.onnx.packed" if is_packed(stored) else "model.onnx"
    contents = Contents(
        name=recipe.name,
        input=Input(shape=results.source.input_shape, name=results.model.graph.input[0].name),
        output=Output(classes=results.source.classes, name=results.model.graph.output[0].name),
        graph=graph,
        dense="dense.onnx",
        provenance=Provenance(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
            recipe=recipe.model_dump(mode="json"),
            seed=recipe.seed,
            versions=_versions(),
            instruction_set=instruction_set(),
            cpu=cpu_name(),
        ),
        quantization=recipe.quantize.scheme.to_json() | {"layers": [asdict(layer) for layer in results.layers]},
        layers=results.compressed.layers_json(),
        measurements=_held_out(recipe, data, results.twin),
        proofs={
            "engines": [_proved_here().to_json()],
            "kernels": results.kernels.to_json(),
            "parity": results.parity.to_json(),
            "lowering": {
                "skipped": [asdict(skip) for skip in results.skipped],
                "dropped": list(results.source.dropped),
                "float": [asdict(found) for found in results.float_operators],
                "tie_distances": dict(results.tie_distances),
            },
            "compression": {
                "steps": [*results.compressed.steps_json(), *results.integers.steps_json()],
                "tensors": results.integers.tensors_json(),
            },
            "storage": {"bytes": len(stored), "onnx_bytes": len(whole), "onnx_sha256": sha256(whole).hexdigest()},
            "training": {
                "data": data.source,
                "data_notes": list(data.notes),
                "network": results.source.origin,
                "device": resolve_device(recipe.device),
                "precision": resolve(recipe.finetune.precision, resolve_device(recipe.device)),
                "dense": results.dense.to_json(),
                "hardened": results.tuned.to_json(),
                **({} if results.teacher is None else {"teacher": results.teacher.to_json()}),
                "twin": results.twin.to_json(),
                **_thresholds(results.twin.module),
            },
        },
    )
    files = {
        graph: stored,
        "dense.onnx": results.dense_onnx.SerializeToString(deterministic=True),
        "proof.npz": _proof(results),
    }
    return write_bundle(out, contents, files=files, overwrite=overwrite)


def stored_graph(recipe: Recipe, whole: bytes) -> bytes:
    """A bundle's file of the integer graph, of a serialized one: packed where the recipe says so and it gains."""
    return pack_graph(whole) if recipe.packs else whole


def _proved_here() -> ProvedOn:
    """ONNX Runtime, whose gates a build has passed."""
    return ProvedOn(
        engine="onnxruntime",
        version=str(onnxruntime.__version__),
        instruction_set=instruction_set(),
        cpu=cpu_name(),
    )


def _held_out(recipe: Recipe, data: Dataset, twin: Trained) -> list[dict[str, Any]]:
    if not len(data.heldout):
        return []
    batch_size = recipe.finetune_twin.batch_size
    clean, robust = held_out_accuracy(
        twin.module, data.heldout, recipe.opponent, seed=recipe.seed, batch_size=batch_size
    )
    rows = [("held-out accuracy", clean)]
    if robust is not None:
        rows.append(("held-out accuracy under PGD-10", robust))
    return [{"name": name, "value": value, "unit": "share", "n": len(data.heldout)} for name, value in rows]


def _thresholds(twin: nn.Module) -> dict[str, Any]:
    """How many thresholds were learned, where they were."""
    found = twin.thresholds if isinstance(twin, Twin) else None
    return {} if found is None else {"thresholds": found.to_json()}


def _proof(results: StageResults) -> bytes:
    """The proof images with the logits that the twin gives, to be compared bit for bit on other machines."""
    with torch.no_grad():
        logits = results.twin.module(torch.from_numpy(results.proof_images).float() / 255).numpy()
    content = io.BytesIO()
    np.savez_compressed(content, images=results.proof_images, logits=logits)
    return content.getvalue()


def _versions() -> dict[str, str]:
    return {
        "hardtemper": __version__,
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
