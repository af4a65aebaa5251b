"""What every step of a recipe's `[[compress]]` list shares: the name of its method."""

from __future__ import annotations

from .section import Section

__all__ = ["CompressionStep"]


class CompressionStep(Section):
    """One step: a method's name and its settings. Each method has a subclass with `method: Literal[NAME]`."""

    method: str

    @property
    def changes_network(self) -> bool:
        """Whether the step may change anything at all."""
        return True

    @property
    def account(self) -> dict[str, object]:
        """What a step report says of the settings; values fit JSON."""
        return self.model_dump(mode="json", exclude={"method"})

    @property
    def holds_zeros(self) -> bool:
        """Whether weights that the step sets to zero must stay zero in every later stage."""
        return False
