"""Prune and harden real networks, against other people's code and masks made by hand."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.compressed import Compressed, LayerReport
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.compress.pruning.groups import UNFOLLOWED
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning


def settled(net: nn.Module, input_shape: tuple[int, int, int]) -> nn.Module:
    """Norms that do something, with the statistics of some images, and weights behind which signals do not vanish."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.5)
            layer.momentum = None
    with torch.no_grad():
        net.train()(torch.rand(8, *input_shape))
    return net.eval()


def cnn8(widths: tuple[int, ...] = (16, 16, 32, 32, 64, 64), hidden: int = 48) -> nn.Sequential:
    """The paper's 8-layer CNN in small: six convolutions and two linear layers, for images of 1 x 16 x 16."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        if i % 2:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 4, hidden), nn.ReLU(), nn.Linear(hidden, 10))


CNN8_CONVS = ["0", "3", "7", "10", "14", "17"]


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    torch.manual_seed(0)
    return settled(cnn8(), (1, 16, 16))


@pytest.fixture(scope="module")
def pruned(dense: nn.Module) -> Compressed:
    return prune_filters(dense, FilterPruning(sparsity=0.8), Context(input_shape=(1, 16, 16)))


def rows(result: Compressed) -> dict[str, LayerReport]:
    return {row.name: row for row in result.layers}


def masked_by_hand(dense: nn.Module, result: Compressed) -> nn.Module:
    """The dense network with zeros for every removed filter and for the batch norm behind it."""
    net = copy.deepcopy(dense).eval()
    for row in result.layers:
        layer, gone = net.get_submodule(row.name), list(row.removed)
        if gone:
            weight = layer.weight.data
            (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight)[gone] = 0
        if gone and getattr(layer, "bias", None) is not None:
            layer.bias.data[gone] = 0
        if gone and isinstance(layer, nn.BatchNorm2d):
            layer.running_mean[gone] = 0
            layer.running_var[gone] = 1
    return net


@torch.no_grad()
def difference(dense: nn.Module, result: Compressed, input_shape: tuple[int, int, int]) -> float:
    """Largest difference of a logit from the network masked by hand, in units of the logits' spread over images."""
    images = torch.rand(8, *input_shape, generator=torch.Generator().manual_seed(3))
    expected = masked_by_hand(dense, result)(images)
    assert expected.std(dim=0).mean() > 1e-4 * expected.abs().max()  # the logits depend on the images
    return float((result.module.eval()(images) - expected).abs().max() / expected.std(dim=0).mean())


def test_the_filters_of_smallest_norm_go(dense: nn.Module, pruned: Compressed) -> None:
    for name in CNN8_CONVS:
        conv, row = dense.get_submodule(name), rows(pruned)[name]
        norms = conv.weight.detach().abs().sum(dim=(1, 2, 3))
        kept = torch.topk(norms, k=len(norms) - round(0.8 * len(norms))).indices
        assert set(row.removed) == set(range(len(norms))) - set(kept.tolist())
        theirs = prune.ln_structured(copy.deepcopy(conv), "weight", amount=0.8, n=1, dim=0)
        assert list(row.removed) == (theirs.weight_mask.sum(dim=(1, 2, 3)) == 0).nonzero().flatten().tolist()


def test_the_tensors_that_are_left_are_those_of_the_dense_network(dense: nn.Module, pruned: Compressed) -> None:
    before: list[int] = [0]
    for name in CNN8_CONVS:
        conv, row = dense.get_submodule(name), rows(pruned)[name]
        kept = sorted(set(range(conv.out_channels)) - set(row.removed))
        small = pruned.module.get_submodule(name)
        assert torch.equal(small.weight, conv.weight[kept][:, before])
        assert torch.equal(small.bias, conv.bias[kept])
        before = kept
    columns = [j * 4 + place for j in before for place in range(4)]
    assert torch.equal(pruned.module[22].weight, dense[22].weight[:, columns])


def test_counts_by_hand(pruned: Compressed) -> None:
    dense_widths, widths = (16, 16, 32, 32, 64, 64), (3, 3, 6, 6, 13, 13)
    sides = (16, 16, 8, 8, 4, 4)

    def parameters(widths: tuple[int, ...]) -> int:
        convolutions = sum(9 * i * o + o + 2 * o for i, o in zip((1, *widths), widths, strict=False))
        return convolutions + (widths[-1] * 4 + 1) * 48 + 49 * 10

    def macs(widths: tuple[int, ...]) -> int:
        convolutions = sum(9 * i * o * s * s for i, o, s in zip((1, *widths), widths, sides, strict=False))
        return convolutions + widths[-1] * 4 * 48 + 480

    assert (pruned.parameters_before, pruned.parameters_after) == (parameters(dense_widths), parameters(widths))
    assert (pruned.macs_before, pruned.macs_after) == (macs(dense_widths), macs(widths))
    assert sum(p.numel() for p in pruned.module.parameters()) == parameters(widths)


def test_every_layer_is_in_the_report_and_each_skip_has_a_reason(dense: nn.Module, pruned: Compressed) -> None:
    owners = {name for name, layer in dense.named_modules() if list(layer.parameters(recurse=False))}
    found = rows(pruned)
    assert found.keys() == owners
    for row in found.values():
        assert bool(row.reason) == (row.channels_before == row.channels_after) == (not row.removed)
        assert row.channels_before - len(row.removed) == row.channels_after
    assert found["22"].reason.startswith("linear layer: ")
    assert found["24"].reason == "logits layer: its outputs are the classes"
    assert found["1"].removed == found["0"].removed  # the batch norm behind
    json.dumps(pruned.layers_json())
    assert json.loads(json.dumps(pruned.steps_json()))[0]["settings"]["sparsity"] == 0.8


def test_equals_the_network_masked_by_hand(dense: nn.Module, pruned: Compressed) -> None:
    assert difference(dense, pruned, (1, 16, 16)) < 1e-3
    assert pruned.steps[0].checks["max_abs_difference"] < 1e-5
    assert pruned.steps[0].checks["check_images"] == 4


def test_same_request_same_result(dense: nn.Module, pruned: Compressed) -> None:
    again = prune_filters(dense, FilterPruning(sparsity=0.8), Context(input_shape=(1, 16, 16)))
    assert again.layers == pruned.layers
    assert again.steps[0].checks == pruned.steps[0].checks
    state = again.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in pruned.module.state_dict().items())


def test_the_given_module_is_left_as_it_is_and_its_modes_are_kept() -> None:
    net = settled(cnn8(), (1, 16, 16)).train()
    net[1].eval()
    for parameter in net[0].parameters():
        parameter.requires_grad_(False)
    state = copy.deepcopy(net.state_dict())
    modes = [layer.training for layer in net.modules()]
    with torch.no_grad():  # no matter for the tracing
        result = prune_filters(net, FilterPruning(sparsity=0.5), Context(input_shape=(1, 16, 16)))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert [layer.training for layer in net.modules()] == [layer.training for layer in result.module.modules()] == modes
    trained = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in result.module.named_parameters()} == trained
    assert not trained["0.weight"]
    assert trained["3.weight"]
    result.module(torch.rand(4, 1, 16, 16)).sum().backward()  # and it can be trained


@settings(max_examples=10, deadline=None)
@given(
    widths=st.lists(st.integers(2, 12), min_size=2, max_size=4),
    sparsity=st.floats(0, 0.5),
    round_to=st.sampled_from([1, 2, 4]),
    scope=st.sampled_from(["layer", "global"]),
    linear=st.booleans(),
)
def test_any_small_network(widths: list[int], sparsity: float, round_to: int, scope: str, linear: bool) -> None:
    torch.manual_seed(0)
    net = settled(cnn8(tuple(widths), hidden=8)[:-4], (1, 8, 8))
    side = 8 // 2 ** (len(widths) // 2)
    net.append(nn.Flatten()).append(nn.Linear(widths[-1] * side**2, 8)).append(nn.ReLU()).append(nn.Linear(8, 3))
    asked = FilterPruning(sparsity=sparsity, round_to=round_to, scope=scope, linear=linear)
    result = prune_filters(net, asked, Context(input_shape=(1, 8, 8)))
    for row in result.layers:
        assert row.channels_after >= 1
        assert row.channels_after == row.channels_before or row.channels_after % round_to == 0
        assert bool(row.reason) == (not row.removed)
        if scope == "layer" and round_to == 1 and row.kind == "conv":
            assert len(row.removed) == round(sparsity * row.channels_before)
    assert result.steps[0].checks["max_abs_difference"] < 1e-4


def resnet18() -> nn.Module:
    return torchvision().models.resnet18(weights=None, num_classes=10)


def mobilenet_v2() -> nn.Module:
    return torchvision().models.mobilenet_v2(weights=None, num_classes=10)


def vgg16() -> nn.Module:
    """torchvision's with a narrower classifier, whose 120 million weights would take no part in the pruning."""
    vgg = torchvision().models.vgg
    features = vgg.make_layers(vgg.cfgs["D"])
    classifier = [nn.Linear(512 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)]
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *classifier)


def mobilenet_v3() -> nn.Module:
    return torchvision().models.mobilenet_v3_small(weights=None, num_classes=10)


def squeezenet() -> nn.Module:
    return torchvision().models.squeezenet1_1(weights=None, num_classes=10)


class Grouped(nn.Module):
    """ResNeXt's block: a grouped convolution between two of 1 x 1, and a residual add."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.block = nn.Sequential(
            *(nn.Conv2d(24, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 48, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(48), nn.ReLU(inplace=True)),
            *(nn.Conv2d(48, 24, 1, bias=False), nn.BatchNorm2d(24)),
        )
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.fc((y + self.block(y)).relu().mean((2, 3)))


class Mixed(nn.Module):
    """A transposed convolution, PReLU, instance norm, and a concatenation that meets a residual add."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.PReLU(8), nn.ConvTranspose2d(8, 6, 2, stride=2)
        )
        self.b = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.InstanceNorm2d(10, affine=True), nn.ReLU())
        self.c = nn.Conv2d(3, 16, 1)
        self.last = nn.Conv2d(16, 12, 3)
        self.fc = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.a(x), self.b(x)], dim=1) + self.c(x)
        return self.fc(self.last(y).relu().amax((2, 3)))


# what is special: residual adds, depthwise, flatten of 7 x 7, squeeze-and-excite, concatenation
ARCHITECTURES = [resnet18, mobilenet_v2, vgg16, mobilenet_v3, squeezenet, Grouped, Mixed]


@functools.cache
def halved(make: Callable[[], nn.Module]) -> tuple[nn.Module, Compressed]:
    torch.manual_seed(0)
    net = settled(make(), (3, 32, 32))
    return net, prune_filters(net, FilterPruning(sparsity=0.5), Context(input_shape=(3, 32, 32)))


@pytest.mark.parametrize("make", ARCHITECTURES)
def test_architectures(make: Callable[[], nn.Module]) -> None:
    net, result = halved(make)
    assert difference(net, result, (3, 32, 32)) < 1e-3
    assert result.parameters_before == sum(p.numel() for p in net.parameters())
    assert result.parameters_after == sum(p.numel() for p in result.module.parameters())
    for row in result.layers:
        assert bool(row.reason) == (not row.removed), row
        if "conv" in row.kind and row.removed and make is not Mixed:
            assert row.channels_after == row.channels_before - round(0.5 * row.channels_before)
    assert result.macs_after < 0.45 * result.macs_before
    skipped = {row.name for row in result.layers if row.kind.endswith("conv") and row.reason}
    assert skipped == ({"classifier.1"} if make is squeezenet else set())  # there a convolution gives the logits


def test_residual_groups_go_by_the_sum_of_norms() -> None:
    net, result = halved(resnet18)
    tied = ["conv1", "layer1.0.conv2", "layer1.1.conv2"]
    norms = sum(net.get_submodule(name).weight.detach().abs().sum(dim=(1, 2, 3)) for name in tied)
    weakest = set(torch.topk(norms, k=32, largest=False).indices.tolist())
    assert all(set(rows(result)[name].removed) == weakest for name in tied)


def test_batch_norms_of_features_stay_in_step() -> None:
    """A channel is 16 features behind the Flatten."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(128), nn.Dropout(),
        nn.Linear(128, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Linear(12, 5), nn.BatchNorm1d(5),
    )  # fmt: skip
    for norm in (net[4], net[8], net[10]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    net = settled(net, (3, 8, 8))
    result = prune_filters(net, FilterPruning(sparsity=0.5, linear=True), Context(input_shape=(3, 8, 8)))
    found = rows(result)
    assert [found[name].channels_after for name in ("0", "4", "6", "8", "9", "10")] == [4, 64, 6, 6, 5, 5]
    kept = [channel for channel in range(8) if channel not in found["0"].removed]
    features = [16 * channel + pixel for channel in kept for pixel in range(16)]
    assert torch.equal(result.module.get_buffer("4.running_mean"), net[4].running_mean[features])


def shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def split(net: nn.Module, x: Tensor) -> Tensor:
    one, other = x.chunk(2, 1)
    return shuffle(torch.cat([one, net.e(other)], 1), 2)


def attention(net: nn.Module, x: Tensor) -> Tensor:
    q = x.reshape(len(x), 4, 2, 36).transpose(2, 3)
    return ((q @ q.transpose(2, 3)).softmax(-1) @ q).transpose(2, 3).reshape(x.shape)


class Between(nn.Module):
    """Convolutions a and b, something between them, and c behind it."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor], *, reads: int = 8, e: nn.Module | None = None):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.fc, self.e = nn.Conv2d(reads, 4, 1), nn.Linear(4, 2), e or nn.Identity()
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(self.between(self, self.b(self.a(x)))).mean((2, 3)))


def rest(channels: int, groups: int = 1) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=groups)


UNFOLLOWED_NETS: dict[str, Callable[[], Between]] = {
    "view": lambda: Between(lambda net, x: shuffle(x, 2)),
    "view of four": lambda: Between(lambda net, x: shuffle(x, 4)),
    "nn.ChannelShuffle": lambda: Between(lambda net, x: net.e(x), e=nn.ChannelShuffle(2)),
    "F.channel_shuffle": lambda: Between(lambda net, x: F.channel_shuffle(x, 2)),
    "twice": lambda: Between(lambda net, x: shuffle(net.e(shuffle(x, 2)), 4), e=rest(8)),
    "grouped": lambda: Between(lambda net, x: net.e(shuffle(x, 2)), e=rest(8, 2)),
    "on a sum": lambda: Between(lambda net, x: shuffle(x + net.e(x), 2), e=rest(8)),
    "on a branch": lambda: Between(lambda net, x: x + shuffle(net.e(x), 2), e=rest(8)),
    "behind a split": lambda: Between(split, e=rest(4)),
    "half": lambda: Between(lambda net, x: x[:, :4], reads=4),
    "turned over": lambda: Between(lambda net, x: x.flip(1)),
    "rolled": lambda: Between(lambda net, x: x.roll(3, 1)),
    "picked": lambda: Between(lambda net, x: x[:, [3, 1, 0, 2, 7, 6, 5, 4]]),
    "pixel shuffle": lambda: Between(lambda net, x: F.pixel_shuffle(x, 2), reads=2),
    "pixel unshuffle": lambda: Between(lambda net, x: F.pixel_unshuffle(x, 2), reads=32),
    "a fixed reshape": lambda: Between(lambda net, x: x.reshape(-1, 2, 4, 6, 6).transpose(1, 2).reshape(-1, 8, 6, 6)),
    "unflatten": lambda: Between(lambda net, x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)),
    "maxout": lambda: Between(lambda net, x: x.view(len(x), 4, 2, 6, 6).amax(2), reads=4),
    "attention": lambda: Between(attention),
    "the image added": lambda: Between(lambda net, x: x[:, :3] + net.image, reads=3),
}


@pytest.mark.parametrize("make", UNFOLLOWED_NETS.values(), ids=UNFOLLOWED_NETS)
def test_layers_whose_channels_cannot_be_followed_are_left_alone(make: Callable[[], Between]) -> None:
    torch.manual_seed(0)
    net = make().eval()
    net.image = torch.rand(1, 3, 6, 6)
    found = rows(prune_filters(net, FilterPruning(sparsity=0.5), Context(input_shape=(3, 8, 8))))
    assert found["b"].reason == UNFOLLOWED
    assert (found["b"].channels_before, found["b"].channels_after) == (8, 8)
    assert found["a"].removed
    assert found["c"].removed
    assert found["fc"].reason.startswith("logits layer")


@pytest.mark.parametrize("name", ["turned over", "behind a split", "pixel unshuffle"])
def test_filters_of_the_other_layers_are_ranked_together(name: str) -> None:
    torch.manual_seed(0)
    net = UNFOLLOWED_NETS[name]().eval()
    found = rows(prune_filters(net, FilterPruning(sparsity=0.5, scope="global"), Context(input_shape=(3, 8, 8))))
    assert found["b"].reason == UNFOLLOWED
    assert sum(len(found[layer].removed) for layer in "ac") == 6  # half of 8 and 4


def test_where_nothing_else_is_left_the_reason_is_told() -> None:
    """Channels last before flattening: the columns are not those that torch-pruning takes."""

    class LastAxis(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.a(x).permute(0, 2, 3, 1).flatten(1))

    with pytest.raises(CompressionError, match="nothing in this network can be pruned; got: a: its channels cannot be"):
        prune_filters(LastAxis(), FilterPruning(sparsity=0.25), Context(input_shape=(3, 8, 8)))


def test_a_layer_that_cannot_be_followed_is_not_asked_for_by_name() -> None:
    asked = FilterPruning(sparsity=0.5, per_layer={"b": 0.5})
    with pytest.raises(CompressionError, match=r"asks to prune 'b', which cannot be; .*channel shuffle"):
        prune_filters(Between(lambda net, x: x.flip(1)), asked, Context(input_shape=(3, 8, 8)))


def test_a_network_that_draws_noise_is_refused() -> None:
    net = Between(lambda net, x: x + torch.randn_like(x))
    with pytest.raises(CompressionError, match="c differs first"):
        prune_filters(net, FilterPruning(sparsity=0.5), Context(input_shape=(3, 8, 8)))


def test_a_sigmoid_between_filter_and_kernel() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    result = prune_filters(net, FilterPruning(sparsity=0.5), Context(input_shape=(1, 8, 8)))
    assert result.steps[0].checks["max_abs_difference"] < 1e-6


def test_check_images_are_used_and_must_fit(dense: nn.Module) -> None:
    result = prune_filters(
        dense, FilterPruning(sparsity=0.5), Context(input_shape=(1, 16, 16), check_images=torch.rand(9, 1, 16, 16))
    )
    assert result.steps[0].checks["check_images"] == 9
    for images in (torch.rand(9, 3, 16, 16), torch.rand(1, 16, 16), torch.rand(0, 1, 16, 16)):
        with pytest.raises(CompressionError, match=r"check_images do not fit.*expected: float \[N, 1, 16, 16\]"):
            prune_filters(dense, FilterPruning(sparsity=0.5), Context(input_shape=(1, 16, 16), check_images=images))
    with pytest.raises(CompressionError, match="does not take an image"):
        prune_filters(dense, FilterPruning(sparsity=0.5), Context(input_shape=(3, 16, 16)))


def test_layers_that_are_never_called_are_reported() -> None:
    class Unused(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[3](self[1](x).mean((2, 3)))

    net = Unused(nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    found = rows(prune_filters(net, FilterPruning(sparsity=0.5), Context(input_shape=(1, 8, 8))))
    assert found["0"].reason == "the forward pass does not reach it"
    assert found["2"].reason == "it follows no convolution that could be pruned"
