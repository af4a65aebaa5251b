from __future__ import annotations

from pathlib import Path

import pytest

from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.errors import DataError, RecipeError
from hardtemper.toolchain.pipeline.first_checks import check_stages
from hardtemper.toolchain.recipe.read import with_overrides


def test_stages_that_do_not_run_are_not_asked(npz: Path) -> None:
    data = load_dataset(str(npz), heldout=64, calibration=32)
    check_stages(with_overrides({}, {"finetune_twin.batch_size": 999}), data)  # no epoch
    with pytest.raises(DataError, match=r"finetune_twin.batch_size: too few"):
        check_stages(with_overrides({}, {"finetune_twin.batch_size": 999, "finetune_twin.epochs": 1}), data)
    given = {"model.checkpoint": "weights.pt", "train.batch_size": 999}
    check_stages(with_overrides({}, given), data)  # has its weights
    with pytest.raises(RecipeError, match=r"train.shift leaves nothing"):
        check_stages(with_overrides({}, {"train.shift": 16}), data)
