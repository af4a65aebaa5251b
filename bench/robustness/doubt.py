"""How an alarm is told in a robust accuracy's own row: what the figure is, and whether it is given at all.

    wrong twin           attacks on the twin: "upper bound only: twin differs"; the union is withheld, unless it is 0
    no attack works      the union is withheld, unless it is 0
    no white-box attack  every attack, and the union: "black-box only"

An upper bound of 0 is the figure itself, whoever found the candidates.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["NO_ATTACK", "NO_WHITE_BOX", "WRONG_TWIN", "standing", "withheld"]

WRONG_TWIN = "wrong twin"
NO_WHITE_BOX = "no white-box attack"
NO_ATTACK = "no attack works"


def standing(alarms: Collection[str], target: str = "") -> str:
    """What a figure is.

    Args:
        alarms: names of those that are raised.
        target: of the attack (`AttackPlan.target`); "" for the union.

    Returns:
        A few words, "" where there is nothing to say.
    """
    if WRONG_TWIN in alarms and target == "twin":
        return "upper bound only: twin differs"
    return "black-box only" if NO_WHITE_BOX in alarms else ""


def withheld(alarms: Collection[str], robust: int) -> bool:
    """Whether the union of all attacks, which leaves `robust` images, is no robust accuracy."""
    return robust > 0 and not {WRONG_TWIN, NO_ATTACK}.isdisjoint(alarms)
