"""Twin against engine, activation by activation, bit for bit.

Three runs of the same images: the twin, the graph as ONNX Runtime ships it (all optimizations), and the same graph with
every optimization off. For the activations the quantizers' results become outputs of the optimized graph; that these
extra outputs change nothing is checked on the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from ..runtime.progress import ProgressCallback, silent
from .twin import Twin

__all__ = ["ActivationParity", "ParityReport", "check_parity"]

_BATCH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationParity:
    """One quantized activation over all images.

    Attributes:
        name: the quantizer's result in the graph.
        elements: how many integers were compared.
        mismatches: how many differ between twin and engine.
        largest: the largest difference, in quantization steps.
    """

    name: str
    elements: int
    mismatches: int
    largest: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """How far twin, engine and unoptimized graph are one function.

    Attributes:
        images: how many images were compared.
        engine_logits: logits that differ between twin and engine.
        engine_images: images with at least one such logit.
        unoptimized_logits: logits that differ between twin and the graph without optimizations.
        activations: in graph order; empty where they were not compared.
    """

    images: int
    engine_logits: int
    engine_images: int
    unoptimized_logits: int
    activations: tuple[ActivationParity, ...]

    @property
    def exact(self) -> bool:
        """Whether nothing differs anywhere."""
        return self.engine_logits == self.unoptimized_logits == 0 and not any(a.mismatches for a in self.activations)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self) | {"activations": [asdict(a) for a in self.activations], "exact": self.exact}


def check_parity(
    model: onnx.ModelProto,
    images: npt.NDArray[np.uint8],
    *,
    twin: Twin | None = None,
    activations: bool = True,
    unoptimized: bool = True,
    progress: ProgressCallback = silent,
) -> ParityReport:
    """Compare twin and engine on `images`.

    Args:
        model: the graph that ships.
        images: uint8 [N, C, H, W].
        twin: made from `model` if not given.
        activations: compare every quantizer's result too.
        unoptimized: compare with all graph optimizations off too.
    """
    twin = Twin(model) if twin is None else twin
    quantizers = twin.quantizers if activations else ()
    engine, bare = _session(model, True), _session(model, False) if unoptimized else None
    open_engine = _session(model, True, quantizers) if quantizers else None
    counts = {name: [0, 0, 0] for name in quantizers}
    differing, wrong_images, wrong_bare = 0, 0, 0
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        with torch.no_grad():
            found = twin.activations(torch.from_numpy(batch).float() / 255)
        logits = found[twin.output].numpy()
        feed = {engine.get_inputs()[0].name: batch if twin.takes_pixels else batch.astype(np.float32) / 255}
        mine = _differ(logits, engine.run([twin.output], feed)[0])
        differing += int(mine.sum())
        wrong_images += int(mine.any(axis=1).sum())
        if bare is not None:
            wrong_bare += int(_differ(logits, bare.run([twin.output], feed)[0]).sum())
        if open_engine is not None:
            names = [twin.output, *quantizers]
            outputs = dict(zip(names, open_engine.run(names, feed), strict=True))
            for name in quantizers:
                gap = np.abs(found[name].numpy().astype(np.int64) - outputs[name].astype(np.int64))
                counts[name][0] += gap.size
                counts[name][1] += int((gap > 0).sum())
                counts[name][2] = max(counts[name][2], int(gap.max(initial=0)))
        progress("parity", min(start + _BATCH, len(images)), len(images), f"{differing} logits differ")
    return ParityReport(
        images=len(images),
        engine_logits=differing,
        engine_images=wrong_images,
        unoptimized_logits=wrong_bare,
        activations=tuple(
            ActivationParity(name=name, elements=total, mismatches=bad, largest=largest)
            for name, (total, bad, largest) in counts.items()
        ),
    )


def _differ(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.asarray(a.reshape(len(a), -1) != b.reshape(len(b), -1))


def _session(model: onnx.ModelProto, optimize: bool, extra: Sequence[str] = ()) -> onnxruntime.InferenceSession:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    zero_points = {
        node.output[0]: node.input[2]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and len(node.input) > 2
    }
    types = {t.name: t.data_type for t in model.graph.initializer}
    for name in extra:
        kind = types.get(zero_points.get(name, ""), onnx.TensorProto.UINT8)
        exposed.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
