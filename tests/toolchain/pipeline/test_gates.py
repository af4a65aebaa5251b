"""The gates: what passes, what does not, and what the message says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.bench.data.load import load_dataset
from hardtemper.export.proofs.executed_kernels import Kernel, KernelReport
from hardtemper.export.proofs.parity import ActivationParity, ParityReport
from hardtemper.runtime.errors import GateError
from hardtemper.toolchain.pipeline.gates import check_gates, proof_images
from hardtemper.toolchain.recipe.read import with_overrides

EXACT = ParityReport(images=4, engine_logits=0, engine_images=0, unoptimized_logits=0, exposed_logits=0, activations=())


def kernels(*macs: tuple[int, bool]) -> KernelReport:
    made = tuple(
        Kernel(name=f"k{i}", operator="Conv", macs=m, output_types=(), integer=integer)
        for i, (m, integer) in enumerate(macs)
    )
    return KernelReport(kernels=made, macs=sum(m for m, _ in macs), backend="test")


ALL_INTEGER, MOSTLY = kernels((90, True), (10, True)), kernels((90, True), (10, False))


def wrong(**counts: int) -> ParityReport:
    return dataclasses.replace(EXACT, **counts)


ONE_INTEGER = dataclasses.replace(EXACT, activations=(ActivationParity(name="a", elements=9, mismatches=1, largest=1),))


@pytest.mark.parametrize(
    ("settings", "report", "parity"),
    [
        ({}, ALL_INTEGER, EXACT),
        ({"quantize.integer_share": 0.9}, MOSTLY, EXACT),
        ({"quantize.integer_share": 0.0}, kernels((1, False)), EXACT),
        ({"quantize.scales": "free"}, ALL_INTEGER, wrong(engine_logits=7)),
        ({"quantize.scales": "free"}, ALL_INTEGER, ONE_INTEGER),
    ],
)
def test_what_passes(settings: dict[str, object], report: KernelReport, parity: ParityReport) -> None:
    check_gates(with_overrides({}, settings), report, parity)


@pytest.mark.parametrize(
    ("settings", "report", "parity", "message"),
    [
        (
            {},
            MOSTLY,
            EXACT,
            "expected: at least 100.0%; got: 90.0%; in float: Conv k1; fix: set ",
        ),
        ({"quantize.integer_share": 0.95, "quantize.scales": "free"}, MOSTLY, EXACT, "expected: at least 95.0%"),
        (
            {},
            ALL_INTEGER,
            wrong(engine_logits=7),
            "got: 7 logits and 0 integers differ",
        ),
        ({}, ALL_INTEGER, wrong(unoptimized_logits=1), "twin and engine on this machine"),
        ({}, ALL_INTEGER, wrong(exposed_logits=1), "twin and engine on this machine"),
        ({}, ALL_INTEGER, ONE_INTEGER, "got: 0 logits and 1 integers differ"),
    ],
)
def test_what_does_not(settings: dict[str, object], report: KernelReport, parity: ParityReport, message: str) -> None:
    with pytest.raises(GateError) as caught:
        check_gates(with_overrides({}, settings), report, parity)
    assert message in str(caught.value)
    assert caught.value.exit_code == 1


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(256, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.w


def test_proof_images_are_held_out_and_their_adversarial_versions(npz: object) -> None:
    data = load_dataset(str(npz), heldout=64, calibration=32)
    standard = proof_images(with_overrides({}, {}), Linear(), data)
    assert np.array_equal(standard, data.heldout.images)
    robust = with_overrides({}, {"robust": True, "adversary.threat": "linf:8/255"})
    pairs = proof_images(robust, Linear(), data)
    assert pairs.dtype == np.uint8
    assert np.array_equal(pairs[::2], data.heldout.images)
    moved = np.abs(pairs[1::2].astype(int) - pairs[::2]).max(axis=(1, 2, 3))
    assert 0 < moved.max() <= 8
    assert np.array_equal(proof_images(robust, Linear(), data), pairs)


def test_without_held_out_images_the_calibrations_stand_in(npz: object) -> None:
    data = load_dataset(str(npz), heldout=0, calibration=32)
    assert np.array_equal(proof_images(with_overrides({}, {}), Linear(), data), data.calibration.images)


@pytest.mark.parametrize(
    ("here", "bits", "fix"), [("x86-64-avx2", 8, True), ("x86-64-avx2", 7, False), ("x86-64-vnni", 8, False)]
)
def test_fewer_bits_are_told_only_where_they_help(
    here: str, bits: int, fix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardtemper.export.proofs.parity.instruction_set", lambda: here)
    with pytest.raises(GateError) as caught:
        check_gates(with_overrides({}, {"quantize.weight_bits": bits}), ALL_INTEGER, wrong(engine_logits=7))
    assert ("fix: build with quantize.weight_bits = 7" in str(caught.value)) == fix
