"""Gradients from bfloat16 convolutions, for float networks on processors that multiply bfloat16.

A search needs the direction of a gradient; logits decide whether it succeeded. So a pass with a gradient runs under
autocast: convolutions, and the other operators of autocast's list, multiply in bfloat16 (8 significant bits, float32
sums), and what follows them keeps that type. Linear layers (`F.linear`) stay in float32, because losses are made of
small differences of logits. A network that ends in a convolution has logits rounded to bfloat16 on that pass. A pass
without a gradient runs the model as it is.

A search for a verdict counts a point as a success only after a pass without gradient (`stopping.broken`), and that pass
runs the model itself, whatever its last layer. `toolchain/studies/autoattack.py` compares the verdicts with those of
float32 searches. A search for a distance (`minimize` of `fab` and `carlini_wagner`) also believes the logits that come
with a gradient; `bench/robustness/minimal_perturbation.py` replays what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ....export.twin.values.levels import gradient_dtype
from ....runtime.errors import ModelError
from ....runtime.shapes import Float

__all__ = ["HalfPrecisionGradients"]


class HalfPrecisionGradients(nn.Module):
    """A float network whose gradients, and the logits that come with them, are from bfloat16 convolutions.

    Args:
        model: float images [N, C, H, W] on the CPU -> logits [N, K]. Its convolutions' weights are moved to
            channels-last memory: the same values.

    Raises:
        ModelError: the twin of a quantized graph, whose integers bfloat16 would round.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if getattr(model, "quantizers", ()):
            raise ModelError("gradients in half precision", expected="a float network", got="a quantized one")
        self.model: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        follows = torch.is_grad_enabled() and images.requires_grad and images.device.type == "cpu"
        logits: Tensor
        if follows and gradient_dtype() == torch.bfloat16:
            with torch.autocast("cpu", dtype=torch.bfloat16), _LinearInFloat32():
                logits = self.model(images.to(memory_format=torch.channels_last))
        else:
            logits = self.model(images)
        return logits


class _LinearInFloat32(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not F.linear:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(args[0].to(args[1].dtype), *args[1:], **(kwargs or {}))
