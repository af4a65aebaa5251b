"""No size depends on what is in an image.

Rule: the operators that can make a tensor of any size out of a small one (Range, Expand, ...) take that size from
constants and from other sizes (Shape, Size), never from pixels. So one image tells how much memory every image takes,
and a picture cannot be made that takes all of it.
"""

from __future__ import annotations

from ..errors import ModelError
from .contents import shown
from .onnx_records import Model

__all__ = ["check_pixel_sizes"]

_SIZES = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Tile": (1,),
    "Upsample": (1,),
}
"""Which inputs of an operator say how large its output is."""


def check_pixel_sizes(model: Model, *, what: str) -> None:
    """Refuse a graph that breaks the module's rule.

    Args:
        what: the file, for the error.

    Raises:
        ModelError: it does.
    """
    if _SIZES.keys().isdisjoint(node.op_type.decode() for node in model.nodes):
        return
    # what is no constant and made of none is taken for pixels, so that the order of nodes cannot hide any
    plain = {tensor.name for tensor in model.tensors} | {b""}
    for node in model.nodes:
        op_type = node.op_type.decode()
        for place in _SIZES.get(op_type, ()):
            if place < len(node.inputs) and node.inputs[place] not in plain:
                raise ModelError(
                    f"{what}: {op_type}: size {shown(node.inputs[place])}",
                    expected="a size that follows from constants and shapes",
                    got="one that depends on the image",
                    fix="export the network with fixed sizes",
                )
        drawn = op_type.startswith(("Bernoulli", "Multinomial", "Random"))  # another size at each call
        if op_type in ("Shape", "Size") or (plain.issuperset(node.inputs) and not drawn):
            plain.update(node.outputs)
