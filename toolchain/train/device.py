"""Where training runs."""

from __future__ import annotations

import torch

from ...runtime.errors import RecipeError

__all__ = ["resolve_device"]


def resolve_device(device: str) -> str:
    """`auto` -> `cuda` where there is a GPU that torch can use, else `cpu`.

    Raises:
        RecipeError: cuda is asked for and there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise RecipeError("device", expected="a GPU that torch can use", got="none", fix='device = "cpu"')
    return "cuda" if found and device != "cpu" else "cpu"
