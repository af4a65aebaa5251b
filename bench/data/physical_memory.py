"""Whether something fits into this machine's memory, asked before it is made.

The system may promise more than it has, and ends the process when the promise is called in: so what is known to be
larger than the physical memory is refused by a line of text instead.
"""

from __future__ import annotations

import os

from ...runtime.errors import InputError

__all__ = ["check_memory", "physical_bytes"]


def physical_bytes() -> int | None:
    """This machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(what: str, needed: int, *, error: type[InputError], fix: str) -> None:
    """Refuse what cannot fit.

    Args:
        what: the thing, with its verb: "the images take".
        needed: its bytes.
        error: which error to raise.
        fix: what to do about it.

    Raises:
        InputError: `needed` exceeds the physical memory.
    """
    memory = physical_bytes()
    if memory is not None and needed > memory:
        raise error(
            f"{what} more memory than this machine has",
            expected=f"{memory / 2**30:.1f} GiB at most",
            got=f"{needed / 2**30:,.1f} GiB" if needed < 2**80 else "far more",
            fix=fix,
        )
