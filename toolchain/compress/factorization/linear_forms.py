"""A linear layer y = W x as two linear layers, or as a tensor train.

    svd           W = U V, U [m, r], V [r, n]
    tensor-train  y[m1, ..., md] = sum over n1, ..., nd of G1[m1, n1] G2[m2, n2] ... Gd[md, nd] x[n1, ..., nd], where
                  Gk[mk, nk] is a matrix r(k-1) x r(k) (Novikov et al. 2015, Tensorizing neural networks, section 4)

The train's cores are carried out one after the other. Core k takes r(k-1) n(k) channels to m(k) r(k) ones: a 1 x 1
convolution of x, seen as [N m1 ... m(k-1), r(k-1) n(k), n(k+1) ... n(d), 1]. What it gives has the axes in the order
that core k + 1 wants, so that nothing is moved between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .factors import Factors
from .forms import Form, filled

__all__ = ["LinearSvd", "LinearTrain", "TensorTrainLinear"]


@dataclass(frozen=True, slots=True)
class LinearSvd(Form):
    """A linear layer as two."""

    outputs: int
    inputs: int

    @classmethod
    def of(cls, weight: Tensor) -> LinearSvd:
        outputs, inputs = weight.shape
        return cls(outputs, inputs)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.inputs, self.outputs

    def array(self, weight: Tensor) -> Tensor:
        return weight.T

    def weight(self, array: Tensor) -> Tensor:
        return array.T

    def factors(self, cores: Sequence[Tensor], layer: nn.Linear) -> Factors:
        first, second = cores[0][0].T, cores[1][:, :, 0].T
        rank = len(first)
        return Factors(
            filled(nn.Linear(self.inputs, rank, bias=False, device="meta"), first, layer),
            filled(nn.Linear(rank, self.outputs, bias=layer.bias is not None, device="meta"), second, layer),
        )


@dataclass(frozen=True, slots=True)
class LinearTrain(Form):
    """A linear layer as a tensor train.

    Attributes:
        outputs: m1, ..., md.
        inputs: n1, ..., nd.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]

    @classmethod
    def of(cls, weight: Tensor, cores: int) -> LinearTrain:
        """Sizes as even as their prime factors let them be; the larger m stand beside the smaller n."""
        outputs, inputs = weight.shape
        return cls(_even(outputs, cores), _even(inputs, cores)[::-1])

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(m * n for m, n in zip(self.outputs, self.inputs, strict=True))

    def array(self, weight: Tensor) -> Tensor:
        d = len(self.outputs)
        pairs = [axis for k in range(d) for axis in (k, d + k)]
        return weight.reshape(*self.outputs, *self.inputs).permute(pairs).reshape(self.sizes)

    def weight(self, array: Tensor) -> Tensor:
        d = len(self.outputs)
        pairs = [size for pair in zip(self.outputs, self.inputs, strict=True) for size in pair]
        apart = array.reshape(pairs).permute([*range(0, 2 * d, 2), *range(1, 2 * d, 2)])
        return apart.reshape(math.prod(self.outputs), math.prod(self.inputs))

    def factors(self, cores: Sequence[Tensor], layer: nn.Linear) -> Factors:
        convolutions = []
        for core, m, n in zip(cores, self.outputs, self.inputs, strict=True):
            before, behind = core.shape[0], core.shape[-1]
            weight = core.reshape(before, m, n, behind).permute(1, 3, 0, 2).reshape(m * behind, before * n, 1, 1)
            made = nn.Conv2d(before * n, m * behind, 1, bias=False, device="meta")
            convolutions.append(filled(made, weight, layer))
        return TensorTrainLinear(convolutions, inputs=self.inputs, layer=layer)


class TensorTrainLinear(Factors):
    """A linear layer whose weight is a tensor train: float [..., n] -> [..., m]."""

    def __init__(self, cores: Sequence[nn.Conv2d], *, inputs: Sequence[int], layer: nn.Linear) -> None:
        super().__init__(*cores)
        self.out_features = layer.out_features
        self._reads = [core.in_channels for core in cores]
        self._behind = [math.prod(inputs[k + 1 :]) for k in range(len(inputs))]
        bias = layer.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for core, reads, behind in zip(self, self._reads, self._behind, strict=True):
            y = core(y.reshape(-1, reads, behind, 1))
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


def _even(size: int, count: int) -> tuple[int, ...]:
    """`count` whole numbers whose product is `size`, ascending: each prime, the largest first, joins the smallest."""
    found = [1] * count
    for prime in reversed(_primes(size)):
        smallest = found.index(min(found))
        found[smallest] *= prime
    return tuple(sorted(found))


def _primes(size: int) -> list[int]:
    found, divisor = [], 2
    while size > 1:
        while size % divisor == 0:
            found.append(divisor)
            size //= divisor
        divisor += 1 if divisor * divisor <= size else max(size - divisor, 1)
    return found
