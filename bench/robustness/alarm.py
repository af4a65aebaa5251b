"""One check for a sign that a figure means less than it says: k of n images, and whether that raises the alarm.

The kinds, with their thresholds and the rule of when an alarm is raised, are in `alarm_table.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..measurement import Measurement, Setting, share, wilson
from .alarm_table import ALARMS

__all__ = ["Alarm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """One check.

    Attributes:
        name: a key of `ALARMS`.
        count: images with the sign, 0 to n.
        n: images that were looked at, 1 or more.
        threshold: share of n up to which nothing is wrong.
    """

    name: str
    count: int
    n: int
    threshold: float

    @classmethod
    def of(cls, name: str, count: int, n: int) -> Alarm:
        """The check `name` with the threshold of its kind."""
        return cls(name=name, count=count, n=n, threshold=ALARMS[name].threshold)

    @property
    def raised(self) -> bool:
        """Whether more than chance lies above the threshold; one image is chance, save where there is none (0)."""
        return self.count >= (2 if self.threshold else 1) and wilson(self.count, self.n)[0] > self.threshold

    @property
    def says(self) -> str:
        """What the sign means, in a sentence."""
        return ALARMS[self.name].meaning

    def measurement(self, **settings: Setting) -> Measurement:
        """The share in per cent, as "alarm"."""
        about: dict[str, Setting] = {"alarm": self.name, "raised": self.raised, "threshold": 100 * self.threshold}
        return share("alarm", self.count, self.n, **settings, **about, says=self.says)
