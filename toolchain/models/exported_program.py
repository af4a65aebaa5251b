"""A network from a `.pt2` file: what `torch.export.save` wrote.

An exported program is a fixed graph: whether its batch norms and dropouts train was decided when it was exported, and
its layers are no longer modules. It can be lowered, measured and attacked, but neither compressed nor fine-tuned before
it is lowered: give `package.module:factory` and a checkpoint for that.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from ...runtime.errors import ModelError

__all__ = ["Exported", "load_exported"]


class Exported(nn.Module):
    """An exported program as a module that stays in evaluation mode: float [N, C, H, W] -> logits [N, K]."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        # not `graph`: exporting again makes a GraphModule, whose own attribute of that name would hide the weights
        self.network = program.module()
        self.training = False

    def train(self, mode: bool = True) -> Exported:
        """Evaluation mode only: `mode` True is a ModelError."""
        if mode:
            raise ModelError(
                "a .pt2 network cannot be trained: its batch norms were fixed when it was exported",
                fix="give package.module:factory and a checkpoint instead",
            )
        return self  # the network refuses train() and eval() alike, so it is not asked

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [N, C, H, W] -> logits [N, K]."""
        logits: torch.Tensor = self.network(images)
        return logits


def load_exported(path: Path) -> Exported:
    """Read a `.pt2` file.

    Raises:
        ModelError: missing, damaged, or exported in training mode (the layers are named).
    """
    if not os.path.isfile(path):  # noqa: PTH113 - see runtime/bundle/reader.py
        raise ModelError(f"{path} does not exist", expected="a file that torch.export.save wrote")
    try:
        program = torch.export.load(path)
    except Exception as error:  # zip, JSON and schema errors of many types
        raise ModelError(
            f"{path} cannot be read",
            expected="a file that torch.export.save wrote",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            fix="export the network again with this version of torch",
        ) from error
    live = [node.name for node in program.graph.nodes if _trains(node)]
    if live:
        raise ModelError(
            f"{path} was exported in training mode",
            expected="batch norm and dropout in evaluation mode",
            got=", ".join(live[:3]),
            fix="call model.eval() before torch.export.export",
        )
    return Exported(program)


def _trains(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.name not in ("aten::batch_norm", "aten::dropout"):
        return False
    name = "training" if schema.name == "aten::batch_norm" else "train"
    position = [argument.name for argument in schema.arguments].index(name)
    value = node.args[position] if position < len(node.args) else node.kwargs.get(name, False)
    return value is True
