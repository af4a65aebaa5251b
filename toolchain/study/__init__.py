"""Studies: training x compression x fine-tuning x seeds, with a paper's values beside ours."""

from __future__ import annotations

__all__: list[str] = []
