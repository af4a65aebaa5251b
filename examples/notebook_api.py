"""The Python API from end to end, in cells: build, load, verify, bench. The calls return what the commands print.

    python examples/notebook_api.py

Needs the extra `build` and takes as long as `make demo`. Each `# %%` begins a cell in editors that know them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import hardtemper


def main(
    recipe: str | Mapping[str, Any] = "demo", *, out: Path = Path("out/notebook"), **settings: Any
) -> dict[str, float]:
    """Build `recipe`, and give the robust accuracy (%) of each network that was measured, withheld or not.

    Args:
        recipe: a shipped recipe's name, a TOML file, or the same as a dict.
        out: the bundle's folder.
        settings: of `hardtemper.bench`.
    """
    # %% A recipe becomes a bundle. The dict of a recipe is its TOML file.
    hardtemper.build(recipe, out=out, overwrite=True)

    # %% The engine is a function of 8-bit images.
    engine = hardtemper.load(out)
    noise = np.random.default_rng(0).integers(0, 256, (4, *engine.input_shape), dtype=np.uint8)
    print("classes of noise:", [engine.labels[k] for k in engine.predict(noise)])

    # %% Does it compute here what was attacked? `gate` raises where a check fails.
    checked = hardtemper.verify(out)
    checked.gate()
    print(f"MACs in integer kernels: {checked.kernels.integer_share:.0%}; logits that differ: {checked.proof_logits}")

    # %% What is it worth? Every measurement has a value, a unit, n, an interval and its settings.
    report = hardtemper.bench(out, **settings)
    found = {}
    for subject in report.subjects:
        for measured in subject.measurements:
            if measured.name.startswith("robust-accuracy") and measured.settings["attack"] == "union":
                # "robust-accuracy-withheld": an upper bound, since an alarm says that the attacks did not do their work
                print(f"{subject.name}: {measured.name} {measured.value:.1f} %, n {measured.n}, {measured.spread}")
                found[subject.name] = measured.value
    return found


if __name__ == "__main__":
    main(attack="quick", images=200)
