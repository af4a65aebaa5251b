"""A convolution as a chain of smaller convolutions: its kernel W[o, i, h, w] as a tensor train.

Each core is a convolution over the axes that it holds, from r(k-1) to r(k) channels:

    channel       [i h w][o]     k x k, then 1 x 1              Zhang et al. 2016, arXiv 1505.06798
    spatial       [i h][w o]     k x 1, then 1 x k              Jaderberg et al. 2014, arXiv 1405.3866, scheme 2
    tucker        [i][h w][o]    1 x 1, k x k, 1 x 1            Kim et al. 2016, arXiv 1511.06530, section 3.1
    tensor-train  [i][h][w][o]   1 x 1, k x 1, 1 x k, 1 x 1     Oseledets 2011

A convolution that holds h has the stride, padding and dilation of that axis, and the same of w. No factor but the last
has a bias, so that zeros which are padded behind a factor are what it makes of zeros that were padded before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor, nn

from .factors import Factors
from .forms import Form, filled

__all__ = ["CONVOLUTION_CORES", "ConvolutionForm"]

CONVOLUTION_CORES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "channel": ("ihw", "o"),
        "spatial": ("ih", "wo"),
        "tucker": ("i", "hw", "o"),
        "tensor-train": ("i", "h", "w", "o"),
    }
)
"""The axes of each core, by the name that a recipe's step gives in `conv`."""

_STORED = "oihw"


@dataclass(frozen=True, slots=True)
class ConvolutionForm(Form):
    """A convolution's weight as cores.

    Attributes:
        shape: of the weight, [o, i, h, w].
        cores: the axes of each core; together "ihwo".
    """

    shape: tuple[int, int, int, int]
    cores: tuple[str, ...]

    @classmethod
    def of(cls, weight: Tensor, form: str) -> ConvolutionForm:
        """The form by its name, without cores for axes of one pixel: of a 1 x 1 kernel, each is a plain SVD."""
        o, i, h, w = weight.shape
        single = {axis for axis, size in (("h", h), ("w", w)) if size == 1}
        kept = ["".join(axis for axis in core if axis not in single) for core in CONVOLUTION_CORES[form]]
        return cls((o, i, h, w), tuple(core for core in kept if core))

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(self._size(axis) for axis in core) for core in self.cores)

    def array(self, weight: Tensor) -> Tensor:
        return weight.permute(1, 2, 3, 0).reshape(self.sizes)

    def weight(self, array: Tensor) -> Tensor:
        o, i, h, w = self.shape
        return array.reshape(i, h, w, o).permute(3, 0, 1, 2)

    def without_full_ranks(self, ranks: tuple[int, ...]) -> tuple[Form, tuple[int, ...]]:
        """A 1 x 1 convolution of as many channels as it reads is no compression: its neighbor takes it in."""
        form = self
        if len(form.cores) > 2 and form.cores[0] == "i" and ranks[0] == form.sizes[0]:
            form, ranks = replace(form, cores=("i" + form.cores[1], *form.cores[2:])), ranks[1:]
        if len(form.cores) > 2 and form.cores[-1] == "o" and ranks[-1] == form.sizes[-1]:
            form, ranks = replace(form, cores=(*form.cores[:-2], form.cores[-2] + "o")), ranks[:-1]
        return form, ranks

    def factors(self, cores: Sequence[Tensor], layer: nn.Conv2d) -> Factors:
        holders = [self._holder(axis) for axis in "hw"]
        last = len(cores) - 1
        return Factors(
            *(
                self._convolution(core, axes, layer, at=[holder == k for holder in holders], is_last=k == last)
                for k, (core, axes) in enumerate(zip(cores, self.cores, strict=True))
            )
        )

    def _convolution(
        self, core: Tensor, axes: str, layer: nn.Conv2d, *, at: Sequence[bool], is_last: bool
    ) -> nn.Conv2d:
        """The convolution of one core; `at`: whether it has the stride, padding and dilation of h and of w."""
        i, h, w, o = (self._size(axis) if axis in axes else 1 for axis in "ihwo")
        before, behind = core.shape[0], core.shape[-1]
        weight = (
            core.reshape(before, i, h, w, o, behind).permute(4, 5, 0, 1, 2, 3).reshape(o * behind, before * i, h, w)
        )
        padding = layer.padding if isinstance(layer.padding, str) else _where(at, layer.padding, 0)
        made = nn.Conv2d(
            before * i,
            o * behind,
            (h, w),
            stride=_where(at, layer.stride, 1),
            padding=padding,
            dilation=_where(at, layer.dilation, 1),
            bias=is_last and layer.bias is not None,
            padding_mode=layer.padding_mode,
            device="meta",
        )
        return filled(made, weight, layer)

    def _holder(self, axis: str) -> int:
        """The core that moves along an axis; the first where none holds it (its kernel is one pixel there)."""
        return next((k for k, core in enumerate(self.cores) if axis in core), 0)

    def _size(self, axis: str) -> int:
        return self.shape[_STORED.index(axis)]


def _where(at: Sequence[bool], values: Sequence[int], otherwise: int) -> tuple[int, int]:
    h, w = (value if here else otherwise for here, value in zip(at, values, strict=True))
    return h, w
