"""Twin against engine, activation by activation, bit for bit.

Three runs of the same images: the twin, the graph as ONNX Runtime ships it (all optimizations), and the same graph with
every optimization off. For the activations the quantizers' results become outputs of the optimized graph; that these
extra outputs change nothing is checked on the logits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ...runtime.backends.onnxruntime import open_session, session_options
from ...runtime.cpu import instruction_set, sums_can_saturate
from ...runtime.errors import GateError, ModelError, first_line
from ...runtime.progress import ProgressCallback, silent
from ...runtime.shapes import Bool, Float, Float32, UInt8
from ..batch_size import batch_size
from ..twin.twin import Twin

__all__ = ["ActivationParity", "ParityReport", "check_exact", "check_parity", "on_device"]

_BATCH = 128
_Array = npt.NDArray[Any]


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
        exposed_logits: logits of the engine that change where its activations are outputs; 0, or they were those of
            another set of kernels.
        activations: in graph order; empty where they were not compared.
    """

    images: int
    engine_logits: int
    engine_images: int
    unoptimized_logits: int
    exposed_logits: int
    activations: tuple[ActivationParity, ...]

    @property
    def exact(self) -> bool:
        """Whether nothing differs anywhere."""
        logits = self.engine_logits + self.unoptimized_logits + self.exposed_logits
        return logits == 0 and not any(activation.mismatches for activation in self.activations)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self) | {"activations": [asdict(a) for a in self.activations], "exact": self.exact}


def check_exact(parity: ParityReport, *, weight_bits: int, stored_logits: int | None = None) -> None:
    """Let pass only a twin and an engine that are one function.

    Args:
        weight_bits: of the graph's integer weights.
        stored_logits: logits that a bundle brings and the engine gives otherwise; None where none were stored.

    Raises:
        GateError: an integer or a logit differs. Fewer weight bits are advised where they help on this processor.
    """
    if parity.exact and not stored_logits:
        return
    logits = (
        f"{parity.engine_logits} logits"
        if stored_logits is None
        else f"{stored_logits} stored logits, {parity.engine_logits} other logits"
    )
    helps = sums_can_saturate(instruction_set(), activation_bits=8, weight_bits=weight_bits)
    raise GateError(
        "twin and engine on this machine",
        expected="no differing integer and no differing logit",
        got=f"{logits} and {sum(activation.mismatches for activation in parity.activations)} integers differ",
        fix="build with quantize.weight_bits = 7" if helps else "",
    )


def check_parity(
    model: onnx.ModelProto,
    images: UInt8[npt.NDArray[np.uint8], "n c h w"],
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

    Raises:
        ModelError: ONNX Runtime refuses the graph.
    """
    twin = Twin(model) if twin is None else twin
    quantizers = twin.quantizers if activations else ()
    engine = _Engine(model, twin)
    bare = _Engine(model, twin, optimize=False) if unoptimized else None
    exposed = _Engine(model, twin, extra=quantizers) if quantizers else None
    counts = {name: _Count() for name in quantizers}
    wrong, wrong_images, wrong_bare, wrong_exposed = 0, 0, 0, 0
    size = engine.fixed or _batch(twin, images[:1])
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        mine, logits = _run_twin(twin, batch, quantizers), engine(batch)[twin.output]
        differs = _differ(mine[twin.output], logits)
        wrong, wrong_images = wrong + int(differs.sum()), wrong_images + int(differs.any(axis=1).sum())
        if bare is not None:
            wrong_bare += int(_differ(mine[twin.output], bare(batch)[twin.output]).sum())
        if exposed is not None:
            outputs = exposed(batch)
            wrong_exposed += int(_differ(logits, outputs[twin.output]).sum())
            for name in quantizers:
                counts[name].add(mine[name], outputs[name])
        progress("parity", min(start + size, len(images)), len(images), f"{wrong} logits differ")
    return ParityReport(
        images=len(images),
        engine_logits=wrong,
        engine_images=wrong_images,
        unoptimized_logits=wrong_bare,
        exposed_logits=wrong_exposed,
        activations=tuple(count.parity(name) for name, count in counts.items()),
    )


class _Engine:
    """ONNX Runtime on `model`, with more values as outputs; `fixed` is how many images it takes, where it says so."""

    def __init__(self, model: onnx.ModelProto, twin: Twin, *, optimize: bool = True, extra: Sequence[str] = ()) -> None:
        self._names = [twin.output, *extra]
        self._pixels = twin.takes_pixels
        options = session_options(optimize=optimize)
        try:
            self._session = open_session(_exposing(model, extra).SerializeToString(), options)
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise ModelError("ONNX Runtime refuses the graph", got=first_line(error)) from error
        fixed = self._session.get_inputs()[0].shape[0]
        self.fixed = fixed if isinstance(fixed, int) and fixed > 0 else None

    def __call__(self, pixels: UInt8[npt.NDArray[np.uint8], "n c h w"]) -> dict[str, _Array]:
        count = len(pixels)
        if self.fixed is not None and count < self.fixed:  # a graph of a fixed batch takes black images along
            black = np.zeros((self.fixed - count, *pixels.shape[1:]), np.uint8)
            pixels = np.concatenate([pixels, black])
        images = pixels if self._pixels else pixels.astype(np.float32) / 255
        try:
            outputs = self._session.run(self._names, {self._session.get_inputs()[0].name: images})
        except Exception as error:  # as above: what the engine runs fused may fail node for node
            raise ModelError("ONNX Runtime cannot run the graph", got=first_line(error)) from error
        # of a map seen as rows, [N T, K], each image has as many
        return {
            name: output[: len(output) * count // len(pixels)]
            for name, output in zip(self._names, outputs, strict=True)
        }


class _Count:
    """What `ActivationParity` reports, over batches."""

    def __init__(self) -> None:
        self._elements, self._mismatches, self._largest = 0, 0, 0

    def add(self, mine: _Array, other: _Array) -> None:
        gap = np.abs(
            mine.astype(np.float64) - other.astype(np.float64)
        )  # exact; scales of a foreign graph may give NaN
        self._elements += gap.size
        self._mismatches += int((gap != 0).sum())
        self._largest = max(self._largest, int(gap[np.isfinite(gap)].max(initial=0)))

    def parity(self, name: str) -> ActivationParity:
        return ActivationParity(name=name, elements=self._elements, mismatches=self._mismatches, largest=self._largest)


def on_device(twin: Twin, pixels: UInt8[npt.NDArray[np.uint8], "n c h w"]) -> Float[torch.Tensor, "n c h w"]:
    """The images as the twin takes them, in [0, 1], where its tensors are."""
    device = next((tensor.device for tensor in (*twin.parameters(), *twin.buffers())), torch.device("cpu"))
    return torch.from_numpy(pixels).to(device).float() / 255


def _batch(twin: Twin, image: UInt8[npt.NDArray[np.uint8], "n c h w"]) -> int:
    """How many images at once, by what one takes."""
    of_one = sum(array.nbytes for array in _run_twin(twin, image, twin.quantizers).values())
    return batch_size(of_one, most=_BATCH)


def _run_twin(twin: Twin, pixels: UInt8[npt.NDArray[np.uint8], "n c h w"], names: Collection[str]) -> dict[str, _Array]:
    with torch.no_grad():
        found = twin.activations(on_device(twin, pixels), names)
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def _differ(
    a: Float32[npt.NDArray[np.float32], " n *k"], b: Float32[npt.NDArray[np.float32], " n *k"]
) -> Bool[npt.NDArray[np.bool_], "n m"]:
    return np.asarray(a.reshape(len(a), -1) != b.reshape(len(b), -1))


def _exposing(model: onnx.ModelProto, extra: Sequence[str]) -> onnx.ModelProto:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    zero_points = {node.output[0]: node.input[2] for node in nodes if len(node.input) > 2}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    present = {output.name for output in model.graph.output}
    for name in extra:
        kind = types.get(zero_points.get(name, ""), onnx.TensorProto.UINT8)
        if name not in present:
            exposed.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return exposed
