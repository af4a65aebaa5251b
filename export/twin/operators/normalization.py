"""The twin's normalizations, on real numbers.

    y = gamma (x - mean) / sqrt(var + epsilon) + beta

Mean and variance are stored (BatchNormalization), or those of an image's dimensions (the others). LRN divides by a
power of the squares of neighbouring channels (Krizhevsky et al. 2012, section 3.3).
"""

from __future__ import annotations

import torch.nn.functional as F

from ..values.scaled import Value, dense
from ..windows import Attributes

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm"]


def batch_norm(attributes: Attributes, x: Value, *parameters: Value) -> Value:
    """BatchNormalization."""
    gamma, beta, mean, var = (dense(parameter) for parameter in parameters)
    return F.batch_norm(dense(x), mean, var, gamma, beta, False, 0.0, attributes.get("epsilon", 1e-5))


def layer_norm(attributes: Attributes, x: Value, gamma: Value, beta: Value | None = None) -> Value:
    """LayerNormalization, over all dimensions from `axis` on."""
    a = dense(x)
    shape = a.shape[attributes.get("axis", -1) % a.dim() :]
    epsilon, scale, shift = attributes.get("epsilon", 1e-5), dense(gamma), None if beta is None else dense(beta)
    if scale.shape == shape and (shift is None or shift.shape == shape):
        return F.layer_norm(a, shape, scale, shift, epsilon)
    y = F.layer_norm(a, shape, eps=epsilon) * scale
    return y if shift is None else y + shift


def instance_norm(attributes: Attributes, x: Value, gamma: Value, beta: Value) -> Value:
    """InstanceNormalization: each channel is a group."""
    a = dense(x)
    return F.group_norm(a, a.shape[1], dense(gamma), dense(beta), attributes.get("epsilon", 1e-5))


def group_norm(attributes: Attributes, x: Value, gamma: Value, beta: Value) -> Value:
    """GroupNormalization, with one scale and bias for each channel: ONNX's since opset 21."""
    return F.group_norm(dense(x), attributes["num_groups"], dense(gamma), dense(beta), attributes.get("epsilon", 1e-5))


def local_response_norm(attributes: Attributes, x: Value) -> Value:
    """LRN, of an odd number of channels."""
    alpha, beta, bias = attributes.get("alpha", 1e-4), attributes.get("beta", 0.75), attributes.get("bias", 1.0)
    return F.local_response_norm(dense(x), attributes["size"], alpha, beta, bias)
