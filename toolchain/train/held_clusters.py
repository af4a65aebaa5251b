"""Weights that share values go on sharing them while the integer twin is trained.

    w_i = s_i t_k    for every weight i of cluster k: s_i the scale of its channel, t_k the shared value, in codes

The gradient of the loss to t_k is G_k = sum_i s_i g_i (Han et al. 2016, arXiv:1510.00149, eq. 3, where s_i = 1). Here
each weight's own gradient is replaced:

    g_i <- s_i G_k / sum_i s_i^2

which is the orthogonal projection of g onto what the rule lets w do. So no step is longer than without sharing, and the
learning rate means the same. Momentum, weight decay, clipping, averages and adversarial weight perturbation are linear
in weights and gradients, so they keep the rule too; with scales that are powers of two they keep it to the bit, since
those commute with every rounding of float32. Weights of code 0 stay 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...runtime.shapes import Float, Float32, Int64

__all__ = ["Clusters", "held_clusters", "project"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clusters:
    """Which weights of one tensor share a value.

    Attributes:
        index: of each weight its cluster, from 0; -1 for those that are 0 and stay so.
        scale: of each weight.
    """

    index: Int64[Tensor, " *shape"]
    scale: Float32[Tensor, " *shape"]

    def gradient(self, gradient: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
        """The gradient under which clusters stay together."""
        cluster = (self.index + 1).flatten().to(gradient.device)
        scale = self.scale.flatten().to(gradient.device, torch.float64)
        sums = torch.zeros(2, int(cluster.max()) + 1, dtype=torch.float64, device=gradient.device)
        sums[0].index_add_(0, cluster, scale * gradient.flatten())
        sums[1].index_add_(0, cluster, scale * scale)
        step = (sums[0] / sums[1].clamp(min=torch.finfo(torch.float64).tiny)).to(gradient.dtype)
        step[0] = 0
        return self.scale.to(gradient) * step[cluster].view(gradient.shape)

    def project(self, weights: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
        """Weights on whole codes, those of a cluster on the same: that of its first weight.

        With scales that are no powers of two, training moves the weights of a cluster apart by some last bits.
        """
        cluster = (self.index + 1).flatten().to(weights.device)
        scale = self.scale.to(weights)
        codes = (weights / scale).round().flatten()
        order = torch.arange(len(cluster), device=weights.device)
        first = torch.full((int(cluster.max()) + 1,), len(cluster), device=weights.device)
        first.scatter_reduce_(0, cluster, order, "amin")
        shared = codes[first.clamp(max=len(cluster) - 1)]
        shared[0] = 0
        return shared[cluster].view(weights.shape) * scale


@contextmanager
def held_clusters(module: nn.Module, clusters: Mapping[str, Clusters]) -> Iterator[None]:
    """Within the block, gradients keep each cluster's weights on one value.

    Args:
        module: a `Twin`, on the device that it is trained on.
        clusters: by parameter name; the parameters hold the rule.
    """
    hooks = [
        module.get_parameter(name).register_hook(found.gradient)  # type: ignore[no-untyped-call]
        for name, found in clusters.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def project(module: nn.Module, clusters: Mapping[str, Clusters]) -> None:
    """Put the parameters on whole codes, in place."""
    with torch.no_grad():
        for name, found in clusters.items():
            parameter = module.get_parameter(name)
            parameter.copy_(found.project(parameter))
