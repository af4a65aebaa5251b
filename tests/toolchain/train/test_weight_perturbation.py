"""Adversarial weight perturbation: its length and direction, what it leaves behind, and the step that comes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.finetune import Trained
from hardtemper.toolchain.train.weight_perturbation import perturbed_weights

GAMMA = 0.01


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.fixture
def module(net: Callable[..., nn.Sequential]) -> nn.Sequential:
    return net(dropout=0).train()


@pytest.fixture
def outer(module: nn.Sequential, train: Part) -> Callable[[], Tensor]:
    x, y = torch.from_numpy(train.images[:64]).float() / 255, torch.from_numpy(train.labels[:64])
    return lambda: F.cross_entropy(module(x), y)


def test_weights_move_up_the_loss_by_gamma_times_their_length(
    module: nn.Sequential, outer: Callable[[], Tensor]
) -> None:
    module[6].bias.requires_grad_(False)
    before, loss = weights(module), outer()
    names = ["0.weight", "6.weight"]
    slopes = dict(zip(names, torch.autograd.grad(loss, [module.get_parameter(name) for name in names]), strict=True))
    with perturbed_weights(module, outer, GAMMA):
        assert outer() > loss
        for name, parameter in module.named_parameters():
            moved = parameter.detach() - before[name]
            if name not in names:
                assert not moved.any()  # batch norm and biases
                continue
            assert moved.norm().item() == pytest.approx(GAMMA * before[name].norm().item(), rel=1e-3)
            assert F.cosine_similarity(moved.flatten(), slopes[name].flatten(), dim=0).item() > 0.999


def test_weights_come_back_to_the_bit(module: nn.Sequential, outer: Callable[[], Tensor]) -> None:
    with torch.no_grad():
        module[6].weight *= 1e3  # where adding and subtracting again would round
    before = weights(module)
    with perturbed_weights(module, outer, 0.3):
        assert not torch.equal(module[6].weight, before["6.weight"])
    with pytest.raises(KeyboardInterrupt), perturbed_weights(module, outer, 0.3):
        raise KeyboardInterrupt
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_batch_norm_counts_the_second_pass_alone(module: nn.Sequential, outer: Callable[[], Tensor]) -> None:
    with perturbed_weights(module, outer, GAMMA):
        outer()
        conv = module[0].weight.detach().clone()
    assert int(module[1].num_batches_tracked) == 1
    twin = nn.BatchNorm2d(4)
    with torch.no_grad():
        module[0].weight.copy_(conv)
        images: list[Tensor] = []
        module[0].register_forward_hook(lambda *arguments: images.append(arguments[2].detach()))
        module.eval()
        outer()
        twin(images[0])
    torch.testing.assert_close(module[1].running_mean, twin.running_mean)
    torch.testing.assert_close(module[1].running_var, twin.running_var)


def test_on_a_quadratic_the_gradient_is_the_one_there() -> None:
    """The loss ||w - a||^2 / 2 has the gradient w - a, so v = gamma ||w|| (w - a) / ||w - a||."""
    module = nn.Linear(3, 2, bias=False)
    a = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 4.0]])
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 2.0, 2.0], [4.0, 0.0, 0.0]]))

    def outer() -> Tensor:
        return (module.weight - a).square().sum() / 2

    with perturbed_weights(module, outer, 0.1):
        outer().backward()
    difference = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, -4.0]])
    v = 0.1 * 5 * difference / (4 * 2**0.5)
    assert module.weight.grad is not None
    torch.testing.assert_close(module.weight.grad, difference + v)
    assert module.weight[1, 0] == 4


@pytest.mark.parametrize("slope", [0.0, 1e-30, 1e-24])
def test_a_gradient_that_vanishes_moves_nothing(slope: float) -> None:
    module = nn.Linear(8, 8, bias=False)
    with torch.no_grad():
        module.weight.fill_(1e5)
    with perturbed_weights(module, lambda: slope * module.weight.sum(), 0.005):
        torch.testing.assert_close(module.weight, torch.full((8, 8), 1e5), rtol=1e-5, atol=0)


def test_a_step_of_training_by_hand(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], train: Part
) -> None:
    settings = Training(epochs=2, batch_size=len(train), learning_rate=0.1, precision="float32", keep_best=False)
    settings = settings.model_copy(update={"schedule": "constant", "gradient_clip": 0.5})
    adversary = Adversary(threat="linf:0.05", attack="fgsm", random_start=False, weight_perturbation=0.1)
    trained = tune(settings, module=net(dropout=0), adversary=adversary)
    plain = net(dropout=0).train()
    x, y = torch.from_numpy(train.images).float() / 255, torch.from_numpy(train.labels)
    for _ in range(2):
        x_adv = fgsm(plain, x, y, threat=ThreatModel("linf", 0.05))
        own = weights(plain)
        parameters = dict(plain.named_parameters())
        slopes = torch.autograd.grad(F.cross_entropy(plain(x_adv), y), list(parameters.values()))
        plain.load_state_dict(own)  # and the statistics of batch norm
        with torch.no_grad():
            for parameter, slope in zip(parameters.values(), slopes, strict=True):
                if parameter.ndim > 1:
                    parameter.add_(0.1 * parameter.norm() * slope / slope.norm())
        plain.zero_grad()
        F.cross_entropy(plain(x_adv), y).backward()
        nn.utils.clip_grad_norm_(parameters.values(), 0.5)
        with torch.no_grad():
            for name, parameter in parameters.items():
                assert parameter.grad is not None
                parameter.copy_(own[name] - 0.1 * parameter.grad)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(trained.module.state_dict()[key], value, rtol=1e-3, atol=1e-5)
