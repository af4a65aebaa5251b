"""Two runs at once that write to one place: whoever is last has written the whole, or one is refused in one line."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from functools import partial
from random import Random

from kills import Part, finish, fork

__all__ = ["TwoWriters", "write_twice"]


@dataclass(kw_only=True, slots=True)
class TwoWriters:
    """What was found.

    Attributes:
        rounds: pairs of runs.
        refused: runs that ended in an error of hardtemper's.
        bad: rounds that ended otherwise, or left something else than one run alone leaves.
    """

    rounds: int = 0
    refused: int = 0
    bad: list[str] = field(default_factory=list)


def write_twice(part: Part, *, rounds: int, seed: int) -> TwoWriters:
    """Pairs of runs; the second starts anywhere within the first's time."""
    found, random = TwoWriters(), Random(f"two {part.name} {seed}")
    for number in range(rounds):
        place = part.folder / f"two-{number}"
        part.prepare(place)
        first = fork(partial(part.run, place))
        time.sleep(random.uniform(0, part.seconds) if number % 2 else 0)
        second = fork(partial(part.run, place))
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (first, second)]
        found.rounds += 1
        found.refused += ends.count(2)
        if not set(ends) <= {0, 2}:
            found.bad.append(f"round {number}: the runs ended with {ends}")
        if lost := part.lost(place):
            found.bad.append(f"round {number}: {lost}")
        # what one that was refused left is finished by the same run again
        if 2 in ends and not finish(partial(part.run, place)):
            found.bad.append(f"round {number}: cannot be run again")
        elif differs := part.differs(place):
            found.bad.append(f"round {number}: {differs} differs")
        shutil.rmtree(place)
    return found
