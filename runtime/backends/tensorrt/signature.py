"""What a deserialized TensorRT engine takes and gives: tensors, types, shapes, optimization profiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import ModelError

__all__ = ["Profile", "Signature", "read_signature"]

_INPUTS = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}
_OUTPUTS = {"FLOAT": "float32", "HALF": "float16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """An optimization profile: the batch sizes that it takes, and the one that its kernels were chosen for."""

    index: int
    least: int
    best: int
    most: int

    def __str__(self) -> str:
        return f"profile {self.index} (batches of {self.least} to {self.most})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What an engine takes and gives.

    Attributes:
        input: the input tensor's name.
        input_dtype: "uint8", "float16" or "float32".
        input_shape: (C, H, W).
        output: the output tensor's name.
        output_dtype: "float32" or "float16".
        classes: K.
        profiles: one or more, by upper bound.
    """

    input: str
    input_dtype: str
    input_shape: tuple[int, int, int]
    output: str
    output_dtype: str
    classes: int
    profiles: tuple[Profile, ...]

    def profile(self, batch: int) -> Profile:
        """The profile with the smallest upper bound that holds `batch`; the last one where none does."""
        return next((profile for profile in self.profiles if batch <= profile.most), self.profiles[-1])


def read_signature(tensorrt: Any, engine: Any, *, origin: str) -> Signature:
    """Read a deserialized engine.

    Args:
        tensorrt: the module.
        engine: an `ICudaEngine`.
        origin: what to call it in an error.

    Raises:
        ModelError: it is no image classifier with fixed channels, height and width.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{origin}: tensors", expected="one input and one output", got=", ".join(names))
    image, logits = inputs[0], outputs[0]
    shape, result = tuple(engine.get_tensor_shape(image)), tuple(engine.get_tensor_shape(logits))
    if len(shape) != 4 or min(shape[1:]) < 1 or len(result) != 2 or result[1] < 1:
        raise ModelError(
            f"{origin}: shapes", expected="[N, C, H, W] -> [N, K], only N open", got=f"{list(shape)} -> {list(result)}"
        )
    dtype, result_dtype = engine.get_tensor_dtype(image).name, engine.get_tensor_dtype(logits).name
    if dtype not in _INPUTS or result_dtype not in _OUTPUTS:
        raise ModelError(f"{origin}: types", expected="uint8 or float -> float", got=f"{dtype} -> {result_dtype}")
    return Signature(
        input=image,
        input_dtype=_INPUTS[dtype],
        input_shape=(shape[1], shape[2], shape[3]),
        output=logits,
        output_dtype=_OUTPUTS[result_dtype],
        classes=result[1],
        profiles=tuple(sorted(_profiles(engine, image, shape[0]), key=lambda profile: profile.most)),
    )


def _profiles(engine: Any, name: str, batch: int) -> list[Profile]:
    if batch > 0:  # a fixed batch: whatever the profile says, it is that one
        return [Profile(index=0, least=batch, best=batch, most=batch)]
    found = []
    for index in range(engine.num_optimization_profiles):
        least, best, most = (shape[0] for shape in engine.get_tensor_profile_shape(name, index))
        found.append(Profile(index=index, least=least, best=best, most=most))
    return found
