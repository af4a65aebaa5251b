"""ONNX -> a differentiable torch module, node for node: the twin of the engine.

The twin computes on the integers. Behind a DequantizeLinear a value is not a float tensor but a pair (n, s) that stands
for s * n, with n integer-valued; convolutions, sums and pools work on n alone, and QuantizeLinear makes of it

    q = clamp(round_half_even(n * m) + z),    m = fl(s / s_y)

one float32 multiplication, which is what integer kernels do with an int32 accumulator. Sums of dequantized floats
would round, and near ties round differently. Gradients are straight-through: round and the weights' rounding have
derivative one, a clamp has derivative zero outside its range.

While nothing is trained, integer layers run on bytes in 8-bit kernels (`execution.py`): the same bits, and a gradient
that is zero (or leaks, `gradients.py`) where a result is 0 or 255, in the precision of `values/levels.py`.

Any classifier graph of the operators in `operators/supported.py` works, float or Q/DQ, whoever made it. torch is
imported here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ...runtime.shapes import Float, Float32
from ..integer_types import UINT8
from .batches import agree, free_batch, in_pieces
from .execution import Plan, byte_plan, node_plan
from .gradients import round_ste
from .graph import (
    Stored,
    image_input,
    in_single_precision,
    read_names,
    read_nodes,
    refuse_unknown,
    stored_integers,
    trained,
)
from .graph_constants import read_constants, stored_tensors
from .int8.onednn import exact
from .movable_scales import MovableScales
from .node_order import in_order
from .packed import PackedPlan
from .running import run
from .stored_codes import Codes, codes_of
from .thresholds import Thresholds
from .values.levels import pixel_levels
from .values.scaled import Value, along, dense

__all__ = ["Twin"]


class Twin(nn.Module):
    """The differentiable form of an ONNX classifier.

    Args:
        model: one image input, [N, C, H, W] uint8 (pixels) or float in [0, 1]; first output: logits [N, K].
        shadow: float values to train instead of the stored integers, by initializer name (`IntegerGraph.shadow`).
        weight_bits: of the integers that weights may take in training, by name (`IntegerGraph.weight_bits`).
        learned: scales that are trained too.

    Attributes:
        thresholds: of the scales in training; None where they stand still.
        takes_pixels: whether the graph's input is uint8.
        input_shape: (C, H, W).
        output: name of the logits in the graph.

    Raises:
        UnsupportedOperatorError: operators that the twin does not know, all of them listed.
        ModelError: a graph that is not an image classifier, or whose nodes wait for each other.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        shadow: Mapping[str, Float32[npt.NDArray[np.float32], " ..."]] | None = None,
        weight_bits: Mapping[str, int] | None = None,
        learned: MovableScales | None = None,
    ) -> None:
        super().__init__()
        self.thresholds = None if learned is None else Thresholds(learned)
        model = in_order(model)
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._input, self.takes_pixels, self.input_shape, batch = image_input(model.graph)
        self.output = model.graph.output[0].name
        refuse_unknown(model)
        constants = read_constants(model.graph, read_names(model.graph))
        nodes = read_nodes(model, constants)
        self._nodes = free_batch(nodes, constants, batch) if batch else nodes
        self._single = in_single_precision(nodes)
        self._keys = {name: f"c{index}" for index, name in enumerate(constants)}
        self._codes: dict[str, tuple[Codes, Stored]] = {}
        weights, stored = trained(self._nodes), stored_integers(self._nodes)
        for name, array in constants.items():
            self._load(name, array, name in weights)
        for name, array in constants.items():
            if name in weights and name in stored and array.dtype.kind in "iu":
                self._train_integers(name, stored[name], (shadow or {}).get(name), (weight_bits or {}).get(name))
        self._by_node = node_plan(self._nodes)
        self._on_bytes: PackedPlan | None = None
        self._pieces = 0
        if batch and not self._is_free(node_plan(nodes), batch):
            self._nodes, self._by_node, self._pieces = nodes, node_plan(nodes), batch

    def _is_free(self, fixed: Plan, batch: int) -> bool:
        with torch.no_grad():
            return agree(
                lambda x: self._logits(x, self._by_node), lambda x: self._logits(x, fixed), batch, self.input_shape
            )

    def _logits(self, images: Tensor, plan: Plan) -> Tensor:
        return dense(self._compute(images, (), plan)[self.output])

    def _load(self, name: str, array: npt.NDArray[np.generic], is_weight: bool) -> None:
        tensor = torch.from_numpy(np.array(array, order="C"))
        if tensor.dim() == 4:
            tensor = tensor.to(memory_format=torch.channels_last)  # kernels of convolutions and pools are faster so
        if is_weight and array.dtype == np.float32:
            self.register_parameter(self._keys[name], nn.Parameter(tensor))
        else:
            self.register_buffer(self._keys[name], tensor)

    def _train_integers(
        self, name: str, stored: Stored, shadow: npt.NDArray[np.float32] | None, bits: int | None
    ) -> None:
        """Integers become float parameters, their shadow, that `_constant` rounds; what float32 cannot hold stays."""
        key = self._keys[name]
        integers = self.get_buffer(key)
        if stored.scale not in self._keys or (stored.zero and stored.zero not in self._keys):
            return
        step, zero = self._units(stored, integers.dim())
        learned = self.thresholds is not None and stored.scale in self.thresholds
        codes = codes_of(integers, zero, bits, narrow=learned)
        given = None if shadow is None else torch.from_numpy(np.array(shadow, np.float32))
        try:
            # a shadow starts at the integer it was rounded to, so that the first forward is the graph as it stands
            values = codes.shadow(integers, step.detach(), zero, given=given, clipped=not learned)
        except RuntimeError:  # they do not fit: the node says so where it computes
            return
        if values is not None:
            delattr(self, key)
            self.register_parameter(key, nn.Parameter(values))
            self._codes[name] = codes, stored

    def _units(self, stored: Stored, rank: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point of stored integers, to broadcast with them."""
        zero = self._constant(stored.zero).float() if stored.zero else torch.zeros(())
        return along(self._constant(stored.scale), rank, stored.axis), along(zero, rank, stored.axis)

    def _constant(self, name: str) -> Tensor:
        values: Tensor = getattr(self, self._keys[name])
        if name in self._codes:
            codes, stored = self._codes[name]
            return codes.rounded(values, *self._units(stored, values.dim()))
        return values if self.thresholds is None else self.thresholds.moved(name, values)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, " ..."]:
        """Logits float32 [N, K] of float images [N, C, H, W] in [0, 1].

        Where the graph takes pixels, x * 255 is rounded to them with a straight-through gradient. What is no [N, K] but
        for axes of size 1, as in the engine, comes as the graph gives it.
        """
        logits = dense(self._run(images, ())[self.output]).float()
        several = [size for size in logits.shape[1:] if size != 1]
        return logits.flatten(1) if logits.dim() > 2 and len(several) == 1 else logits  # [N, K, 1, 1] is [N, K]

    def activations(
        self, images: Float[Tensor, "n c h w"], names: Collection[str] | None = None
    ) -> dict[str, Float[Tensor, " ..."]]:
        """What QuantizeLinear gives, all or some, as integer-valued tensors, and the logits, by ONNX value name."""
        names = self.quantizers if names is None else names
        found = self._run(images, names)
        return {name: dense(found[name]) for name in [*names, self.output]}

    def results(self, images: Float[Tensor, "n c h w"], names: Iterable[str]) -> dict[str, Float[Tensor, " ..."]]:
        """Any results of nodes, and the logits, by ONNX value name; behind a DequantizeLinear they are real numbers."""
        return {name: dense(value) for name, value in self._compute(images, names, self._by_node).items()}

    @property
    def quantizers(self) -> tuple[str, ...]:
        """The results of the QuantizeLinear nodes on activations, in graph order."""
        nodes = [node for node in self._nodes if node.op_type == "QuantizeLinear"]
        return tuple(node.outputs[0] for node in nodes if node.inputs[0] not in self._keys)

    def _run(self, images: Tensor, keep: Iterable[str]) -> dict[str, Value]:
        if not self._single and torch.is_autocast_enabled(images.device.type):
            with torch.autocast(images.device.type, enabled=False):  # bfloat16 does not hold integers, nor a double
                return self._run(images, keep)
        if not self._pieces:
            return self._compute(images, keep, self._plan(images))

        def compute(piece: Tensor) -> dict[str, Tensor]:
            return {name: dense(value) for name, value in self._compute(piece, keep, self._plan(piece)).items()}

        return dict(in_pieces(compute, images, self._pieces))

    def _compute(self, images: Tensor, keep: Iterable[str], plan: Plan) -> dict[str, Value]:
        image = self._image(images, on_bytes=plan is not self._by_node)
        return run(plan, {self._input: image}, self._constant, {*keep, self.output})

    def _image(self, images: Tensor, *, on_bytes: bool) -> Value:
        if not self.takes_pixels:
            return images
        return pixel_levels(images) if on_bytes else round_ste(images * 255).clamp(UINT8.low, UINT8.high)

    def _plan(self, images: Tensor) -> Plan:
        """Integer kernels where nobody trains the weights."""
        trained = torch.is_grad_enabled() and any(weight.requires_grad for weight in self.parameters())
        ours = images.device.type == "cpu" and images.dtype == torch.float32
        if trained or not ours or not self.quantizers or not exact():
            return self._by_node
        if self._on_bytes is None or not self._on_bytes.is_current(self):
            with torch.no_grad():
                constants = {name: self._constant(name) for name in self._keys}
                plan = byte_plan(self._nodes, constants, self.output)
            self._on_bytes = PackedPlan(plan, self)
        return self._on_bytes.plan

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_bytes": None}  # packed weights can be neither copied nor stored

    def to_onnx(self) -> onnx.ModelProto:
        """The ONNX graph with the trained weights and scales written back: integers where it held integers."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for name, tensor in stored_tensors(model.graph):
            self._write(tensor, name)
        return model

    def _write(self, tensor: onnx.TensorProto, name: str) -> None:
        """Untouched bytes where nothing was trained."""
        learned = self.thresholds is not None and name in self.thresholds
        if self._keys.get(name) not in self._parameters and not learned:
            return
        with torch.no_grad():
            values = self._constant(name).cpu().numpy()
        stored = numpy_helper.to_array(tensor)
        if not np.array_equal(values, stored):
            tensor.CopyFrom(numpy_helper.from_array(values.astype(stored.dtype), tensor.name))

    @property
    def parameter_names(self) -> dict[str, str]:
        """Of each initializer that is trained, the name of the parameter that holds it."""
        return {name: key for name, key in self._keys.items() if key in self._parameters}

    def shadow(self) -> dict[str, Float32[npt.NDArray[np.float32], " ..."]]:
        """The float values behind the integers, as trained, by initializer name."""
        return {name: self.get_parameter(self._keys[name]).detach().cpu().numpy() for name in self._codes}
