"""The batch sizes that an engine takes: optimization profiles.

A profile is a range of batch sizes with one that the kernels are timed for ("Working with Dynamic Shapes", TensorRT
documentation): any batch from `least` to `most` runs, `typical` runs best.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.errors import InputError

__all__ = ["BatchRange"]


@dataclass(frozen=True, slots=True)
class BatchRange:
    """1 <= least <= typical <= most.

    Raises:
        InputError: sizes out of order.
    """

    least: int
    typical: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.typical <= self.most:
            raise InputError("batch range", expected="1 <= MIN <= OPT <= MAX", got=str(self))

    @staticmethod
    def parse(text: str) -> BatchRange:
        """Read "MIN:OPT:MAX", or "N" for one fixed size.

        Raises:
            InputError: anything else.
        """
        parts = text.split(":")
        if not all(part.isdecimal() for part in parts) or len(parts) not in (1, 3):
            raise InputError("batch range", expected="MIN:OPT:MAX, such as 1:64:256, or one number", got=repr(text))
        least, typical, most = (int(part) for part in (parts * 3 if len(parts) == 1 else parts))
        return BatchRange(least, typical, most)

    def __str__(self) -> str:
        return f"{self.least}:{self.typical}:{self.most}"
