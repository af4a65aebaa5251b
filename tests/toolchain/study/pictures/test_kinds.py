from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hardtemper.toolchain.study.pictures.features import FeaturePicture
from hardtemper.toolchain.study.pictures.kinds import AnyPicture


def test_the_kind_tells_the_picture() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyPicture)
    settings = {"title": "t", "label": "Bag", "attack": "pgd-20", "pairs": []}
    assert isinstance(adapter.validate_python({"kind": "features", **settings}), FeaturePicture)
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "feature", **settings})
