from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.state_keys import fit_keys


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


OWN = network().state_dict()


def behind(prefix: str, *, without: str = "") -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in network().state_dict().items() if key != without}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (behind(""), ""),
        (behind("", without="1.num_batches_tracked"), ""),
        (behind("module."), "keys behind 'module.'"),
        (behind("module._orig_mod.model."), "keys behind 'module._orig_mod.model.'"),
        (behind("net.") | {"n": torch.zeros(1)}, "keys behind 'net.', 1 others left out: n"),
        (behind("model.") | behind("model_ema.module."), "keys behind 'model.', 7 others left out: model_ema.mod"),
        (behind("model.") | behind("teacher."), "keys behind 'model.', 7 others left out: teacher.0.weight, "),
        (behind("module.model.") | behind("model."), "keys behind 'model.', 7 others left out: module.model.0"),
    ],
)  # fmt: skip
def test_prefixes(state: dict[str, torch.Tensor], words: str) -> None:
    found, said = fit_keys(state, OWN, origin="x")
    assert {key for key in OWN if not key.endswith("tracked")} <= set(found) <= set(OWN)
    assert said.startswith(words)
    assert bool(said) == bool(words)


def test_torchs_own_average() -> None:
    averaged = AveragedModel(network()).state_dict()
    found, said = fit_keys(averaged, OWN, origin="x")
    assert (list(found), said) == (list(OWN), "keys behind 'module.', 1 others left out: n_averaged")


def test_the_same_network_twice() -> None:
    state = behind("student.") | behind("teacher.")
    with pytest.raises(ModelError, match=r"x hold the network 2 times; .*; got: student\., teacher\.; fix: save the"):
        fit_keys(state, OWN, origin="x")


def test_another_network_stays_as_it_is() -> None:
    """The error that follows names its keys, without the wrappers'."""
    assert set(fit_keys(behind("module.", without="0.bias"), OWN, origin="x")[0]) == set(OWN) - {"0.bias"}
    assert set(fit_keys(behind("net.", without="0.bias"), OWN, origin="x")[0]) == set(behind("net.", without="0.bias"))


def test_a_network_without_weights() -> None:
    assert fit_keys({"a": torch.zeros(1)}, {}, origin="x")[1] == ""
