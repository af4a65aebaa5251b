from __future__ import annotations

from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.cli.setting import read_setting


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("train.epochs=3", "train.epochs", 3),
        ("a = [1, 2]", "a", [1, 2]),
        ("model.name=cnn8", "model.name", "cnn8"),
        ("x=a=b", "x", "a=b"),
    ],
)
def test_values_are_tomls_and_bare_words_are_strings(text: str, key: str, value: Any) -> None:
    assert read_setting(text) == (key, value)


def test_no_equals_sign() -> None:
    with pytest.raises(RecipeError, match="--set; expected: KEY=VALUE; got: epochs"):
        read_setting("epochs")
