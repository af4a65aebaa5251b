"""Averages of weights against plain loops over what was seen."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.averaging import Average, average_of


def walk(module: nn.Module, steps: int) -> list[dict[str, Tensor]]:
    """States of a module whose weights and statistics change, the first of them as it comes."""
    random = torch.Generator().manual_seed(0)
    states = [{key: value.clone() for key, value in module.state_dict().items()}]
    for _ in range(steps):
        states.append(
            {
                key: value + 1 if not value.is_floating_point() else torch.randn(value.shape, generator=random)
                for key, value in states[-1].items()
            }
        )
    return states


def averaged(average: Average, module: nn.Module, states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    for state in states:
        module.load_state_dict(state)
        average.add(module)
    return average.state


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_exponential_average(net: Callable[..., nn.Sequential], decay: float) -> None:
    module = net()
    states = walk(module, 20)
    found = averaged(Average(module, decay), module, states[1:])
    for key, value in states[0].items():
        wanted = value.double()
        for t, state in enumerate(states[1:], start=1):
            d = min(decay, (1 + t) / (10 + t))
            wanted = d * wanted + (1 - d) * state[key].double()
        if value.is_floating_point():
            torch.testing.assert_close(found[key].double(), wanted, rtol=1e-5, atol=1e-6)
        else:
            assert int(found[key]) == 20  # the number of batches is the last one's


def test_the_plain_mean(net: Callable[..., nn.Sequential]) -> None:
    module = net()
    states = walk(module, 7)
    found = averaged(Average(module, None), module, states[1:])
    for key, value in found.items():
        if value.is_floating_point():
            wanted = torch.stack([state[key] for state in states[1:]]).double().mean(0)
            torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
        else:
            assert int(value) == 7
    one = averaged(Average(module, None), module, states[-1:])
    assert all(torch.equal(one[key], states[-1][key]) for key in one)


@pytest.mark.parametrize("decay", [0.9, None])
def test_weights_that_stay_keep_their_bits(net: Callable[..., nn.Sequential], decay: float | None) -> None:
    """Constants of a twin are buffers too; of infinities an average would be NaN."""
    module = net()
    module.register_buffer("limit", torch.tensor([torch.inf, -torch.inf, 0.1]))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found = averaged(Average(module, decay), module, [before] * 5)
    assert all(torch.equal(found[key], before[key]) for key in before)


@pytest.mark.parametrize("decay", [0.9, None])
def test_a_checkpoint_goes_on(net: Callable[..., nn.Sequential], decay: float | None) -> None:
    module = net()
    states = walk(module, 6)
    whole = averaged(Average(module, decay), module, states[1:])
    first, buffer = Average(net(), decay), io.BytesIO()
    averaged(first, module, states[1:4])
    torch.save(first.state_dict(), buffer)
    averaged(first, module, states[1:])  # a checkpoint is not what training goes on with
    second = Average(net(seed=3), decay)
    second.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    again = averaged(second, module, states[4:])
    assert second.count == 6
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_swap_lends_the_average(net: Callable[..., nn.Sequential]) -> None:
    module = net()
    average, states = Average(module, 0.9), walk(module, 3)
    averaged(average, module, states[1:])
    kept = {key: value.clone() for key, value in average.state.items()}
    own = average.swap(module)
    assert all(torch.equal(value, kept[key]) for key, value in module.state_dict().items())
    assert all(torch.equal(value, states[-1][key]) for key, value in own.items())
    with torch.no_grad():
        module[6].weight += 1  # what happens to the module happens to neither
    assert all(torch.equal(average.state[key], kept[key]) for key in kept)
    module.load_state_dict(own)
    assert all(torch.equal(value, states[-1][key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "decay"),
    [({"average": "ema"}, 0.999), ({"average": "ema", "ema_decay": 0.5}, 0.5), ({"average": "swa"}, None)],
)
def test_what_a_recipe_asks_for(net: Callable[..., nn.Sequential], settings: dict[str, Any], decay: Any) -> None:
    average = average_of(net(), Training(**settings))
    assert average is not None
    assert (average.decay, average.count) == (decay, 0)
    assert average_of(net(), Training()) is None
