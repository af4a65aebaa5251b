"""The check of an ONNX file's bytes before ONNX Runtime sees them.

Rule: everything is judged from the bytes that will run, in time linear in them and without a copy of the weights. What
is refused is one `ModelError`. What can only be found by running (`sizes.py`) is named, for a trial elsewhere.
"""

from __future__ import annotations

from ..errors import ModelError
from .contents import check_contents, shown
from .integer_division import check_division
from .limits import MOST_FIELDS, MOST_FILE_BYTES
from .onnx_model import read_model
from .onnx_records import Model
from .pixel_sizes import check_pixel_sizes
from .sizes import check_sizes
from .tensor_data import complaint
from .wire import Wire, WireError

__all__ = ["check_graph"]


def check_graph(content: bytes, *, what: str) -> tuple[str, ...]:
    """Refuse an ONNX file that holds what an image classifier does not, or what can end the process that opens it.

    Args:
        content: the file, with every weight inside.
        what: its path, for the error.

    Returns:
        Operators whose memory cannot be told from the file; where there are some, the graph should be tried first.

    Raises:
        ModelError: it is no ONNX file, or is refused.
    """
    if len(content) > MOST_FILE_BYTES:
        raise ModelError(f"{what}: too large", expected=f"at most {MOST_FILE_BYTES} bytes", got=f"{len(content)} bytes")
    wire = Wire(content, most=MOST_FIELDS)
    try:
        model = read_model(wire)
        check_contents(model, what=what)
        _check_tensors(wire, model, what)
        check_division(wire, model, what=what)
        check_pixel_sizes(model, what=what)
        return check_sizes(wire, model, what=what).untold
    except WireError as error:
        raise ModelError(f"{what}: no ONNX file", expected="a ModelProto", got=str(error)) from None


def _check_tensors(wire: Wire, model: Model, what: str) -> None:
    found = [(tensor.name, tensor) for tensor in model.tensors]
    for node in model.nodes:
        of = node.outputs[0] if node.outputs else node.name
        found += ((of, attribute.tensor) for attribute in node.attributes.values() if attribute.tensor is not None)
    for name, tensor in found:
        outside = ("data inside the file", f"data in the file {shown(tensor.location)}") if tensor.external else None
        if (wrong := outside or complaint(wire, tensor)) is not None:
            raise ModelError(f"{what}: tensor {shown(name)}", expected=wrong[0], got=wrong[1])
