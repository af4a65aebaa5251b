"""What a method may do at every step of training, beside the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["UpdateRule"]


class UpdateRule(Protocol):
    """Called around every step of the optimizer; what it keeps goes into the checkpoints."""

    def with_gradients(self) -> None:
        """The loss's gradients are there, not yet clipped: more may be added."""

    def stepped(self) -> None:
        """The weights were moved: they may be put back to where they have to be."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` goes on from."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's state; the module holds the checkpoint's weights already."""
