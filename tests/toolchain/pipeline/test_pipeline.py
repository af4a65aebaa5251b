"""A build from the images to the bundle: what is in it, what it never looks at, and how it goes on after a kill."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import hardtemper
from hardtemper.bench.data.npz_file import load_npz
from hardtemper.export.passes.node_pass import SkippedNode
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.integer_layout import FloatOperator
from hardtemper.export.quantization.quantize import quantize
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import BundleError, CompressionError, DataError, GateError, InputError, RecipeError
from hardtemper.toolchain.bundles.verification import verify_bundle
from hardtemper.toolchain.pipeline.pipeline import Build, build
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe

pytestmark = pytest.mark.usefixtures("lower_once")


class Stop(Exception):  # noqa: N818 - ends a build where the test has seen enough
    pass


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
@pytest.mark.parametrize("robust", [True, False])
def test_engine_and_twin_are_one_function(
    tiny: Any, settings: dict[str, Any], tmp_path: Path, robust: bool, scales: str
) -> None:
    if robust and scales == "power-of-two":
        made, out = tiny.build, tiny.path
    else:
        out = tmp_path / "out"
        made = build(with_overrides(settings, {"robust": robust, "quantize.scales": scales}), out=out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # no checkpoints are left
    engine = hardtemper.load(out)
    test = load_npz(Path(settings["data"]["name"]))
    noise = np.random.default_rng(0).integers(0, 256, (200, 1, 16, 16), np.uint8)
    images = np.concatenate([test.test_images, noise])
    with torch.no_grad():
        wanted = made.stages.twin.module(torch.from_numpy(images).float() / 255).numpy()
    logits = engine(images)
    if scales == "power-of-two":
        assert np.array_equal(logits, wanted)
    else:
        assert np.isclose(logits, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max()).mean() > 0.95
    assert (engine.predict(test.test_images) == test.test_labels).mean() > 0.7
    assert engine.bundle is not None
    assert engine.bundle.manifest.quantization["scales"] == scales
    names = [row["name"] for row in engine.bundle.manifest.measurements]
    assert ("held-out accuracy under PGD-10" in names) is robust


def test_a_build_of_four_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    """Weights and activations; trained on the twin, proved, and its codes are in their range."""
    out = tmp_path / "out"
    made = build(with_overrides(settings, {"quantize.weight_bits": 4, "quantize.activation_bits": 4}), out=out)
    manifest = made.bundle.manifest
    assert manifest.proofs["parity"]["exact"]
    assert manifest.proofs["parity"]["engine_logits"] == 0
    assert manifest.proofs["kernels"]["integer_share"] == 1
    assert manifest.quantization["weight_bits"] == 8  # the first and the last layer
    widths = [(row["weight_bits"], row["activation_bits"]) for row in manifest.quantization["layers"]]
    assert widths == [(8, 4), *[(4, 4)] * (len(widths) - 2), (8, 8)]
    assert (out / "model.onnx.packed").stat().st_size < manifest.proofs["storage"]["onnx_bytes"]
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in made.stages.model.graph.initializer}
    largest = sorted(int(np.abs(codes.astype(int)).max()) for codes in stored.values() if codes.ndim > 1)
    assert largest[-3] <= 7 < largest[-2]  # those of the first and the last layer are larger
    verify_bundle(out, images=20, seed=0).gate()


def test_a_build_with_learned_thresholds(settings: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = {"quantize.weight_bits": 3, "quantize.activation_bits": 3, "finetune_twin.keep_best": False}
    made = build(with_overrides(settings, given | {"finetune_twin.threshold_learning_rate": 0.5}), out=out)
    proofs = made.bundle.manifest.proofs
    assert proofs["parity"]["exact"]
    assert proofs["parity"]["engine_logits"] == 0
    thresholds = proofs["training"]["thresholds"]
    assert thresholds["held"] == 1  # the pixels'
    assert 0 < thresholds["moved"] <= thresholds["learned"]
    verify_bundle(out, images=20, seed=0).gate()


def test_layers_that_there_are_not_are_refused_before_training(settings: dict[str, Any], tmp_path: Path) -> None:
    recipe = with_overrides(settings, {"quantize.layer_weight_bits.featurs.0": 4})
    with pytest.raises(InputError, match=r"quantize\.layer_weight_bits names no layer.*'features.0'"):
        build(recipe, out=tmp_path / "out", progress=lambda *_: pytest.fail("trained"))


def test_the_dense_graph_is_the_dense_network(tiny: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 16, 16), np.uint8)
    source = tiny.build.stages.source
    with torch.no_grad():
        wanted = source.module(torch.from_numpy(images).float() / 255).numpy()
    dense = open_onnx(tiny.path / "dense.onnx")
    assert dense.backend.input_dtype == "uint8"
    np.testing.assert_allclose(dense(images), wanted, rtol=1e-4, atol=1e-4)
    assert dict(source.module.named_modules())["features.0"].out_channels == 4


def test_the_test_images_are_never_used(tiny: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    """Other test images with other labels, and fewer of them: the same network to the last bit."""
    with np.load(settings["data"]["name"]) as data:
        arrays = dict(data)
    rng = np.random.default_rng(9)
    arrays["test_images"] = rng.integers(0, 256, (7, 1, 16, 16)).astype(np.uint8)
    arrays["test_labels"] = np.full(7, 3)
    np.savez(tmp_path / "poisoned.npz", **arrays)
    recipe = with_overrides(settings, {"data.name": str(tmp_path / "poisoned.npz")})
    made = build(recipe, out=tmp_path / "out")
    for name in ("model.onnx", "dense.onnx"):
        assert (tmp_path / "out" / name).read_bytes() == (tiny.path / name).read_bytes()
    assert made.bundle.manifest.measurements == tiny.build.bundle.manifest.measurements


@pytest.mark.parametrize("checkpoint", ["dense.pt", "finetune.pt"])
def test_killed_and_run_again(
    tiny: Any, settings: dict[str, Any], tmp_path: Path, toml: Callable[..., Path], checkpoint: str
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "hardtemper.toolchain",
        "build",
        "--recipe",
        str(toml(settings)),
        "--out",
        str(out),
    ]
    child = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
        text=True,
    )
    waited = tmp_path / "out.work" / checkpoint
    while not waited.exists() and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, said
    assert not out.exists()
    assert waited.exists()
    build(with_overrides(settings, {}), out=out)
    assert (out / "model.onnx").read_bytes() == (tiny.path / "model.onnx").read_bytes()
    assert (out / "dense.onnx").read_bytes() == (tiny.path / "dense.onnx").read_bytes()
    assert not (tmp_path / "out.work").exists()


def test_interrupted_within_a_compression_step(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds of pruning go on where they stopped, to the bits of a build that was not interrupted."""
    settings["compress"] = [{"method": "weights", "sparsity": 0.6, "rounds": 3, "criterion": "taylor"}]
    settings["finetune"]["epochs"] = 1
    recipe = with_overrides(settings, {})
    whole = build(recipe, out=tmp_path / "whole")

    def stop(task: str, *_: Any) -> None:
        if task == "compress 1: round 2":
            raise Stop

    with pytest.raises(Stop):
        build(recipe, out=tmp_path / "out", progress=stop)
    assert (tmp_path / "out.work" / "compress-1-round-1.pt").exists()
    seen: list[str] = []
    build(recipe, out=tmp_path / "out", progress=lambda task, *_: seen.append(task))
    assert "compress 1: round 2" in seen
    assert not {"train", "compress 1: round 1"} & set(seen)
    packed = "model.onnx.packed"
    assert (tmp_path / "out" / packed).read_bytes() == (whole.bundle.path / packed).read_bytes()


@pytest.mark.parametrize(
    "step",
    [
        {"method": "weights", "sparsity": 0.7, "scope": "global"},
        {"method": "weights", "pattern": "2:4"},
        {"method": "weights", "sparsity": 0.7, "criterion": "hydra"},
    ],
    ids=["global", "2:4", "hydra"],
)
def test_zeros_stay_zero_up_to_the_shipped_integers(
    step: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["finetune"] |= {"weight_decay": 5e-4, "average": "ema", "ema_decay": 0.9}
    made = build(with_overrides(settings, {"compress": [step]}), out=tmp_path / "out")
    stages = made.stages
    zeros, weights = (sum(getattr(row, name) for row in stages.compressed.layers) for name in ("zeros", "weights"))
    layers = [layer for layer in stages.tuned.module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert sum(int((layer.weight == 0).sum()) for layer in layers) == zeros > 0.4 * weights
    stored = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in stages.model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert len(stored) == len(layers)
    assert sum(int((array == 0).sum()) for array in stored) >= zeros
    if "pattern" in step:
        even = [array for array in stored if array.shape[1] % 4 == 0]
        blocks = [np.moveaxis(array, 1, -1).reshape(-1, 4) for array in even]
        assert len(even) == len(layers) - 1
        assert all(((block != 0).sum(1) <= 2).all() for block in blocks)
    verified = hardtemper.load(tmp_path / "out")
    assert verified.bundle is not None
    assert verified.bundle.manifest.proofs["compression"]["steps"][0]["checks"]["zeros"] == zeros


@pytest.mark.parametrize("train", ["clean", "adversary"])
@pytest.mark.parametrize("finetune", ["clean", "adversary"])
def test_each_stage_is_trained_against_what_the_recipe_says(
    train: str, finetune: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """The paper's T_st and T_ad of f_st and f_rb; robust accuracy is measured where an adversary is."""
    settings["train"] |= {"epochs": 1, "against": train}
    settings["finetune"] |= {"epochs": 1, "against": finetune}
    settings["finetune_twin"] = {"epochs": 0}
    if train == finetune == "clean":
        with pytest.raises(RecipeError, match="without an epoch against the adversary"):
            with_overrides(settings, {})
        return
    stages = build(with_overrides(settings, {}), out=tmp_path / "out").stages
    assert (stages.dense.epochs[0].robust is not None) is (train == "adversary")
    assert (stages.tuned.epochs[0].robust is not None) is (finetune == "adversary")


@pytest.fixture
def again(tiny: Any, tmp_path: Path) -> Callable[[Recipe], list[str]]:
    """Builds from `tiny`'s checkpoints until the first step of training; gives the stages that reported."""
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")

    def run(recipe: Recipe) -> list[str]:
        seen: list[str] = []

        def stop(task: str, *_: Any) -> None:
            seen.append(task)
            if task in ("train", "fine-tune", "fine-tune twin", "parity"):
                raise Stop

        with pytest.raises(Stop):
            build(recipe, out=tmp_path / "out", progress=stop)
        return list(dict.fromkeys(seen))

    return run


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("name", "other", "parity"),
        ("quantize.integer_share", 0.5, "parity"),
        ("finetune_twin.learning_rate", 0.02, "fine-tune twin"),
        ("quantize.observer", "minmax", "fine-tune twin"),
        ("finetune.momentum", 0.8, "fine-tune"),
        ("adversary.threat", "linf:8/255", "fine-tune"),
        ("compress.filters.sparsity", 0.25, "fine-tune"),
        ("compress", [], "fine-tune"),
        ("robust", False, "fine-tune"),
        ("train.weight_decay", 1e-3, "train"),
        ("seed", 1, "train"),
    ],
)
def test_a_changed_recipe_starts_at_the_stage_it_touches(
    again: Callable[[Recipe], list[str]], settings: dict[str, Any], key: str, value: Any, first: str
) -> None:
    assert again(with_overrides(settings, {key: value}))[-1] == first


def test_given_weights_are_not_trained(tiny: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "dense.pth"
    module = tiny.build.stages.source.module
    torch.save(module.state_dict(), weights)
    seen: list[str] = []

    def stop(task: str, *_: Any) -> None:
        seen.append(task)
        raise Stop

    recipe = with_overrides(settings, {"model.checkpoint": str(weights)})
    with pytest.raises(Stop):
        build(recipe, out=tmp_path / "out", progress=stop)
    assert seen == ["fine-tune"]
    assert not (tmp_path / "out.work" / "dense.pt").exists()


def test_without_training_held_out_images_or_pruning(settings: dict[str, Any], tmp_path: Path) -> None:
    given = {"train.epochs": 0, "finetune.epochs": 0, "finetune_twin.epochs": 0, "data.heldout": 0}
    recipe = with_overrides(settings, {**given, "compress": [], "robust": False})
    made = build(recipe, out=tmp_path / "out")
    manifest = made.bundle.manifest
    assert manifest.measurements == ()
    assert all(layer["macs_before"] == layer["macs_after"] for layer in manifest.layers)
    assert all(manifest.proofs["training"][stage]["epochs"] == [] for stage in ("dense", "hardened", "twin"))
    with np.load(tmp_path / "out" / "proof.npz") as proof:
        assert len(proof["images"]) == 32  # the calibration images


def test_a_failed_gate_leaves_no_bundle_but_the_checkpoints(
    tiny: Any, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")

    def one_wrong(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(check_parity(*arguments, **options), engine_logits=1, engine_images=1)

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.check_parity", one_wrong)
    with pytest.raises(GateError, match="twin and engine on this machine"):
        build(with_overrides(settings, {}), out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.work"]


def test_nodes_that_no_rewrite_could_change_reach_the_manifest(
    tiny: Any, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.build.stages.skipped == ()
    nothing: dict[str, Any] = {"skipped": [], "dropped": [], "float": [], "tie_distances": {}}
    assert tiny.build.bundle.manifest.proofs["lowering"] == nothing
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")
    skipped = SkippedNode(operator="Clip", result="relu6", step="FoldClip", reason="Add reads it")
    found = FloatOperator(operator="Mish", result="m", reason="no integer kernel on ONNX Runtime")

    def one_left(*arguments: Any, **options: Any) -> Any:
        integer = quantize(*arguments, **options)
        return dataclasses.replace(integer, skipped=(skipped,), float_operators=(found,), tie_distances={"m": 0.25})

    monkeypatch.setattr("hardtemper.toolchain.pipeline.stages.quantize", one_left)
    made = build(with_overrides(settings, {}), out=tmp_path / "out")
    assert made.stages.skipped == (skipped,)
    told = read_bundle(tmp_path / "out").manifest.proofs["lowering"]
    assert told == {
        "skipped": [dataclasses.asdict(skipped)],
        "dropped": [],
        "float": [dataclasses.asdict(found)],
        "tie_distances": {"m": 0.25},
    }
    assert (tmp_path / "out" / "model.onnx").read_bytes() == (tiny.path / "model.onnx").read_bytes()


def occupy(out: Path, by: str, bundle: Path) -> None:
    if by == "a bundle":
        shutil.copytree(bundle, out)
    elif by == "a file":
        out.write_text("text")
    else:
        (out / "photos" if by == "other things" else out).mkdir(parents=True)


@pytest.mark.parametrize(
    ("by", "overwrite", "message"),
    [
        ("a bundle", False, "out: exists already; fix: choose another"),
        ("an empty folder", False, "out: exists already"),
        ("a file", True, "out: will not be overwritten; expected: a bundle"),
        ("other things", True, "out: will not be overwritten; expected: a bundle"),
    ],
)
def test_an_occupied_target_is_found_first(tiny: Any, tmp_path: Path, by: str, overwrite: bool, message: str) -> None:
    out = tmp_path / "out"
    occupy(out, by, tiny.path)
    nothing_to_read = with_overrides({"data": {"name": "no-such-data"}}, {})
    with pytest.raises(BundleError) as caught:
        build(nothing_to_read, out=out, overwrite=overwrite)
    assert message in str(caught.value)
    assert not (tmp_path / "out.work").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train.batch_size": 225}, DataError, "train.batch_size: too few training images for one batch"),
        ({"finetune.batch_size": 999}, DataError, "finetune.batch_size: too few training images"),
        ({"finetune_twin.batch_size": 65}, DataError, "finetune_twin.batch_size: too few training images"),
        ({"train.shift": 16}, RecipeError, "train.shift leaves nothing of some images; expected: less than 16 pixels"),
        ({"finetune.cutout": 40}, RecipeError, "finetune.cutout leaves nothing of some images"),
        ({"data.heldout": 300}, DataError, "cannot be divided"),
        ({"compress.filters.sparsity": 0.99}, CompressionError, "would leave no filter of a layer: features.0"),
        (
            {"compress.filters.per_layer": {"features.99": 0.5}},
            CompressionError,
            "names no convolution or linear layer",
        ),
        ({"model.stem": "cifar"}, InputError, "cnn8 takes no stem"),
    ],
)
def test_what_cannot_be_is_found_before_training(
    settings: dict[str, Any], tmp_path: Path, changes: dict[str, Any], error: type[InputError], message: str
) -> None:
    def unwanted(*_: Any) -> None:
        raise AssertionError("nothing may be trained before")

    with pytest.raises(error) as caught:
        build(with_overrides(settings, changes), out=tmp_path / "out", progress=unwanted)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


NETWORKS = """
import torch
from torch import nn
from torch import nn

class Net(nn.Sequential):
    def __init__(self, last=None, first=None):
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), first or nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 4)]
        super().__init__(*layers, *([last] if last else []))

class Pair(Net):
    def forward(self, x):
        return (super().forward(x), x) if self.training else super().forward(x)

class Fails(Net):
    def forward(self, x):
        if self.training:
            raise ValueError("no mask was given")
        return super().forward(x)

class Branches(Net):
    def forward(self, x):
        return super().forward(x) * (2 if x.mean() > 0 else 1)

def blurred(): return Net(first=nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.MaxPool2d(2)))
def probable(): return Net(last=nn.Softmax(1))
def frozen(): return Net().requires_grad_(False)
"""


@pytest.mark.parametrize(
    "case",
    [
        ("blurred", {}, "Resize with mode=linear"),
        ("Branches", {}, "Branches cannot be exported"),
        ("Pair", {}, "Pair does not train; expected: one tensor of logits in training mode"),
        ("Fails", {}, "got: ValueError: no mask was given"),
        ("frozen", {}, "frozen has no parameter to train"),
        ("frozen", {"train.epochs": 0}, "frozen has no parameter to train"),
    ],
)
def test_networks_that_cannot_be_trained_or_shipped_are_found_before_training(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, dict[str, Any], str]
) -> None:
    network, changes, message = case

    def unwanted(*_: Any) -> None:
        raise AssertionError("nothing may be trained before")

    (tmp_path / "networks_of_a_user.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = with_overrides(settings, {"model.name": f"networks_of_a_user:{network}", **changes})
    with pytest.raises(InputError) as caught:
        build(recipe, out=tmp_path / "out", progress=unwanted)
    assert message in str(caught.value)
    assert not (tmp_path / "out.work").exists()


def test_a_softmax_is_taken_off_before_training(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "networks_of_a_user.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    changes = {"model.name": "networks_of_a_user:probable", "train.epochs": 1, "finetune.epochs": 1}
    made = build(with_overrides(settings, changes), out=tmp_path / "out")
    assert made.bundle.manifest.proofs["lowering"]["dropped"] == ["softmax"]
    for name in ("model.onnx", "dense.onnx"):
        assert "Softmax" not in {node.op_type for node in onnx.load(tmp_path / "out" / name).graph.node}
    assert made.stages.parity.engine_logits == 0


def test_an_exported_program_is_not_trained(settings: dict[str, Any], tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 4)).eval()
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(module, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=(batch,))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(RecipeError, match=r"--set compress=\[\] --epochs 0 --standard"):
        build(with_overrides(settings, {"model.name": str(tmp_path / "net.pt2")}), out=tmp_path / "out")


def test_a_place_that_cannot_be_written_is_found_before_training(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match="cannot write checkpoints"):
        build(with_overrides(settings, {}), out=tmp_path / "file" / "out")


def test_a_bundle_is_replaced_through_a_link(tiny: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(tiny.path, tmp_path / "real")
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "real.work")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    made: Build = build(with_overrides(settings, {"name": "second"}), out=tmp_path / "link", overwrite=True)
    assert made.bundle.manifest.name == "second"
    assert (tmp_path / "link").is_symlink()
    assert read_bundle(tmp_path / "real").manifest.name == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
    digest = hashlib.sha256((tmp_path / "real" / "model.onnx").read_bytes()).hexdigest()
    assert digest == hashlib.sha256((tiny.path / "model.onnx").read_bytes()).hexdigest()
