"""What a run may be asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.settings import _KINDS, BenchSettings
from hardtemper.runtime.errors import InputError


@pytest.mark.parametrize(("channels", "expected"), [(1, "linf:0.1"), (3, "linf:8/255")])
def test_the_papers_radius_is_the_default(channels: int, expected: str) -> None:
    from hardtemper.bench.settings import default_threat

    assert str(default_threat((channels, 32, 32))) == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batches": ()}, "batches"),
        ({"batches": (1, 1)}, "batches"),
        ({"backends": ()}, "one or more of onnxruntime, openvino, all different; got: none"),
        ({"backends": ("openvino", "openvino")}, "backends"),
        ({"backends": ("onnxruntime", "tensorrt")}, "got: onnxruntime, tensorrt"),
        ({"backends": "openvino"}, "backends; expected: a tuple of names, as text"),
        ({"batches": (0,)}, r"batches\[0\]"),
        ({"threads": 0}, "threads"),
        ({"images": 0}, "images"),
        ({"clean_images": -1}, "clean_images"),
        ({"repeats": 0}, "repeats"),
        ({"warmup": -1}, "warmup"),
        ({"min_seconds": -0.1}, "min_seconds"),
        ({"min_seconds": float("nan")}, "min_seconds"),
        ({"min_seconds": float("inf")}, "min_seconds"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -1}, "seed"),
        ({"preset": "qick"}, "did you mean 'quick'"),
        ({"threat": ThreatModel("linf", 0.5 / 255)}, "no other 8-bit image"),
        ({"images": "5"}, "images; expected: a whole number, or None; got: '5'"),
        ({"images": 4.5}, "images"),
        ({"images": True}, "images"),
        ({"batches": ("1",)}, "batches"),
        ({"batches": (1.5,)}, "batches"),
        ({"batches": 5}, "batches"),
        ({"seed": 1.5}, "seed"),
        ({"min_seconds": "1"}, "min_seconds"),
        ({"preset": None}, "preset"),
        ({"preset": ["fgsm"]}, "preset"),
        ({"threat": 0.1}, "threat"),
        ({"transfer": "/a/b.onnx"}, "transfer"),
        ({"robust": "no"}, "robust; expected: True or False; got: 'no'"),
        ({"sequential": 1}, "sequential"),
    ],
)
def test_settings_are_checked_before_any_work(
    wrong: dict[str, Any], message: str, settings: Callable[..., BenchSettings]
) -> None:
    with pytest.raises(InputError, match=message):
        settings(**wrong)


def test_every_setting_has_a_type_that_is_checked() -> None:
    assert set(_KINDS) == {field.name for field in fields(BenchSettings)}
    assert all(fits(getattr(BenchSettings(), name)) for name, (_, fits) in _KINDS.items())


def test_no_more_threads_are_recorded_than_run() -> None:
    assert BenchSettings(threads=10**6).threads == os.cpu_count()
    assert BenchSettings(threads=1).threads == 1
    assert BenchSettings(threads=None).threads is None
