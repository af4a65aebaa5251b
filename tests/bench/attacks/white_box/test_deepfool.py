from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.norms import dual_length, length
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.deepfool import deepfool
from hardtemper.bench.attacks.white_box.on_pixels import attack_pixels
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import ModelError, RecipeError

Task = Any  # the fixture's class, in conftest.py
NORMS: Any = ["linf", "l2"]
EVERYTHING = {"linf": ThreatModel("linf", 1.0), "l2": ThreatModel("l2", 100.0)}
RADII = {"linf": ThreatModel("linf", 20 / 255), "l2": ThreatModel("l2", 0.75)}


@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize("norm", NORMS)
def test_one_step_of_a_linear_model_is_the_distance(norm: Any, target: int | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2 if target else 5))
    x = torch.randint(110, 140, (8, 3, 2, 2)) / 255  # far from the box
    if target:
        model[1].bias.data[0] += (model(x)[:, 1] - model(x)[:, 0]).max().detach() + 0.05  # all of class 0, and near
    z, rows = model(x).detach(), torch.arange(8)
    y = z.argmax(1)
    weight = model[1].weight.detach()
    heights = z - z[rows, y].unsqueeze(1)
    distances = heights.abs() / dual_length(weight - weight[y].unsqueeze(1), norm)
    distances[rows, y] = math.inf
    threat = ThreatModel(norm, EVERYTHING[norm].epsilon, target)
    found = deepfool(model, x, y, threat=threat, steps=1, minimize=True)
    assert (model(found).argmax(1) != y).all()
    moves = (found - x).flatten(1)
    torch.testing.assert_close(length(moves, norm), 1.02 * (distances.amin(1) + 1e-4), rtol=1e-3, atol=0)


def test_perturbations_are_those_of_art(task: Task, art: Callable[[Task], Any]) -> None:
    x, y = task.x[:48], task.y[:48]
    found = deepfool(task.model, x, y, threat=EVERYTHING["l2"], minimize=True)
    assert (task.model(found).argmax(1) != y).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import DeepFool

        attack = DeepFool(art(task), max_iter=50, epsilon=0.02, nb_grads=6, batch_size=128, verbose=False)
        theirs = torch.from_numpy(attack.generate(x.numpy()))
    lengths = [length((points - x).flatten(1), "l2").median() for points in (found, theirs)]
    assert 0.9 * lengths[1] <= lengths[0] <= 1.001 * lengths[1]


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_the_ball_and_fools(task: Task, norm: Any, minimize: bool) -> None:
    threat = RADII[norm]
    found = deepfool(task.model, task.x, task.y, threat=threat, minimize=minimize)
    moved = task.fooled(found, threat)
    assert 0.1 < moved.float().mean() < 1


def test_a_verdict_goes_on_until_rounding_does_not_matter(task: Task) -> None:
    threat = RADII["l2"]
    robust = {
        minimize: task.robust(deepfool(task.model, task.x, task.y, threat=threat, minimize=minimize), threat)
        for minimize in (False, True)
    }
    assert robust[False] < robust[True]


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_an_image_that_is_fooled_outside_the_ball_is_left(linear: nn.Module, norm: Any, minimize: bool) -> None:
    x, seen = torch.full((1, 3, 4, 4), 128 / 255), []
    y = linear(x).argmax(1)

    def noted(images: Tensor) -> Tensor:
        seen.append(images.detach())
        logits: Tensor = linear(images)
        return logits

    found = deepfool(noted, x, y, threat=ThreatModel(norm, 1e-4), minimize=minimize)
    assert torch.equal(found, x)
    assert len(seen) == 3  # the image, the gradients, and where one step leads
    assert linear(seen[-1]).argmax(1) != y


@pytest.mark.parametrize("norm", NORMS)
def test_pixels(task: Task, norm: Any) -> None:
    result = attack_pixels("deepfool", deepfool, task.model, task.pixels, task.labels, threat=RADII[norm], seed=0)
    assert RADII[norm].contains(result.adversarial, task.pixels).all()
    assert (task.scores(result.adversarial).argmax(1) != task.labels).mean() > 0.1


def test_twin() -> None:
    """The twin's operators have backward passes of their own, which have to serve several times a step."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-100, 101, (4, 36)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "scale"], ["x"]),
        helper.make_node("QuantizeLinear", ["x", "rough", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "rough", "zero"], ["d"]),
        helper.make_node("Flatten", ["d"], ["flat"]),
        helper.make_node("DequantizeLinear", ["w", "fine"], ["dw"]),
        helper.make_node("Gemm", ["flat", "dw"], ["logits"], transB=1),
    ]
    constants = {
        "scale": np.float32(1 / 256),
        "rough": np.float32(1 / 64),
        "zero": np.uint8(0),
        "w": weights,
        "fine": np.float32(1 / 64),
    }
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    twin = Twin(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    x = torch.from_numpy(rng.integers(0, 256, (16, 1, 6, 6)).astype(np.uint8)).float() / 255
    y = twin(x).argmax(1)
    found = deepfool(twin, x, y, threat=ThreatModel("linf", 1.0))
    assert (twin(found).argmax(1) != y).all()
    assert (twin((found * 255).round() / 255).argmax(1) != y).all()
    assert 0 < (found - x).abs().max() < 0.5
    onnx.checker.check_model(twin.to_onnx())


def test_wrong_images_and_no_images(task: Task) -> None:
    y = (task.y + 1) % 6
    assert torch.equal(deepfool(task.model, task.x, y, threat=RADII["linf"]), task.x)
    assert deepfool(task.model, task.x[:0], task.y[:0], threat=RADII["linf"]).shape == task.x[:0].shape


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"candidates": 0}, {"overshoot": -0.1}, {"overshoot": math.inf}, {"overshoot": math.nan}],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        deepfool(task.model, task.x, task.y, threat=RADII["linf"], **settings)


def test_refuses_l1(task: Task) -> None:
    with pytest.raises(RecipeError, match=r"expected: a threat model in linf or l2; got: l1:4\.0; fix: use fab"):
        deepfool(task.model, task.x, task.y, threat=ThreatModel("l1", 4.0))


def test_unknown_target(task: Task) -> None:
    with pytest.raises(ModelError, match="expected: a class below 6; got: 9"):
        deepfool(task.model, task.x, task.y, threat=ThreatModel("l2", 1.0, target=9))


def black(count: int) -> Tensor:
    """Images of which 60 % are black, as those of Fashion-MNIST."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, 1, 12, 12)
    lit = torch.rand(shape, generator=generator) > 0.6
    return torch.randint(1, 256, shape, generator=generator) * lit / 255


@pytest.mark.parametrize("norm", NORMS)
def test_black_pixels_do_not_stop_it(norm: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))
    x = black(100)
    y = model(x).argmax(1)
    settings: Any = {"threat": EVERYTHING[norm], "minimize": True}
    found = deepfool(model, x, y, **settings)
    assert (model(found).argmax(1) != y).all()
    alone = deepfool(model, x, y, **settings, batch_size=1)
    torch.testing.assert_close(alone, found, rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_tie_is_left(norm: Any) -> None:
    # Both logits are equal, so that the boundary is here; a tie goes to the lower class.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 1.0, -1.0]])
    x, y = torch.full((1, 1, 2, 2), 128 / 255), torch.zeros(1, dtype=torch.int64)
    found = deepfool(model, x, y, threat=EVERYTHING[norm], minimize=True)
    assert model(found).argmax(1) == 1
    assert (found - x).abs().max() < 2e-4


@pytest.mark.parametrize("slope", [0.0, 1e-42])
@pytest.mark.parametrize("norm", NORMS)
def test_no_slope_is_no_step_to_nowhere(norm: Any, slope: float) -> None:
    seen = []

    def flat(x: Tensor) -> Tensor:
        seen.append(x.detach())
        first = x[:, 0, 0, 0]
        return torch.stack((first * 0 + 50, first * slope), 1)

    x, y = torch.full((2, 1, 2, 2), 128 / 255), torch.zeros(2, dtype=torch.int64)
    assert torch.equal(deepfool(flat, x, y, threat=EVERYTHING[norm], steps=3), x)
    expected = x.clone()
    expected[:, 0, 0, 0] = 1 if slope else 128 / 255
    assert all(torch.equal(images, expected) for images in seen[3:])


def test_unknown_classes() -> None:
    x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 7])
    with pytest.raises(ModelError, match="expected: classes from 0 to 3; got: 7"):
        deepfool(nn.Flatten(), x, y, threat=EVERYTHING["l2"])
