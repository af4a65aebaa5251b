from __future__ import annotations

import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from hardtemper.export.twin.windows import Window, pad_window, text, window


def test_what_a_node_says() -> None:
    attributes = {"kernel_shape": [3, 5], "strides": [2, 1], "dilations": [1, 2], "pads": [0, 1, 2, 3]}
    assert window(attributes, (8, 8)) == Window((3, 5), (2, 1), (1, 2), (0, 1, 2, 3))
    assert window({}, (8, 8), (3, 3)) == Window((3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
    assert window({"auto_pad": b"VALID", "pads": [1, 1, 1, 1]}, (8, 8), (3, 3)).pads == (0, 0, 0, 0)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_automatic_padding_is_onnxs(mode: str, size: int, kernel: int, stride: int) -> None:
    x, w = torch.randn(1, 1, size, size), torch.randn(1, 1, kernel, kernel)
    body = f'y = Conv<auto_pad="{mode}", strides=[{stride},{stride}]>(x, w)'
    signature = f"float[1,1,{size},{size}] x, float[1,1,{kernel},{kernel}] w"
    header = '<ir_version: 9, opset_import: ["" : 18]>'
    model = onnx.parser.parse_model(f"{header} g ({signature}) => (float[1,1,H,W] y) {{ {body} }}")
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x.numpy(), "w": w.numpy()})
    settings = window({"auto_pad": mode, "strides": [stride, stride]}, (size, size), (kernel, kernel))
    padded, pads = pad_window(x, settings, 0.0)
    found = torch.nn.functional.conv2d(padded, w, None, stride, pads)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_only_a_lopsided_padding_is_applied() -> None:
    x = torch.zeros(1, 1, 2, 2)
    same, pads = pad_window(x, Window((3, 3), (1, 1), (1, 1), (1, 2, 1, 2)), -1.0)
    assert same is x
    assert pads == (1, 2)
    padded, pads = pad_window(x, Window((3, 3), (1, 1), (1, 1), (0, 0, 1, 2)), -1.0)
    assert pads == (0, 0)
    assert padded.shape == (1, 1, 3, 4)
    assert padded.sum() == -8


def test_strings_are_bytes_in_onnx() -> None:
    assert text({"mode": b"edge"}, "mode", "constant") == text({"mode": "edge"}, "mode", "constant") == "edge"
    assert text({}, "mode", "constant") == "constant"
