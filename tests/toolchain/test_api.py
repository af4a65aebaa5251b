"""Build, bench and verify as functions: the frozen results that the commands print, and the package's own errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hardtemper
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.resume import RESUME_FOLDER
from hardtemper.runtime.errors import DataError, InputError, IntegrityError, RecipeError
from hardtemper.toolchain import api
from hardtemper.toolchain.bundles.verification import Verification
from hardtemper.toolchain.pipeline.pipeline import Build
from hardtemper.toolchain.recipe.read import with_overrides

SHORT: dict[str, Any] = {"warmup": 0, "repeats": 1, "min_seconds": 0.0, "batches": (2,), "images": 4, "attack": "paper"}


@pytest.fixture
def bundle(tiny: Any, tmp_path: Path) -> Path:
    """A copy, beside which a run may leave files."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `build` hands on to the pipeline, which then builds nothing; in an empty folder."""
    found: dict[str, Any] = {}

    def spy(resolved: Any, **options: Any) -> str:
        found.update(options, recipe=resolved)
        return "built"

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.build", spy)
    monkeypatch.chdir(tmp_path)
    return found


def test_a_whole_build(tiny: Any, settings: dict[str, Any], tmp_path: Path, lower_once: None) -> None:
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")
    seen: list[str] = []
    result = hardtemper.build(settings, out=tmp_path / "out", progress=lambda task, *_: seen.append(task))
    assert isinstance(result, Build)
    assert result.bundle.path == tmp_path / "out"
    assert (tmp_path / "out" / "model.onnx").read_bytes() == (tiny.path / "model.onnx").read_bytes()
    assert "parity" in seen


@pytest.mark.parametrize("kind", ["name", "file", "mapping", "Recipe"])
def test_a_recipe_in_every_form(
    given: dict[str, Any], settings: dict[str, Any], toml: Callable[..., Path], kind: str
) -> None:
    forms: dict[str, Any] = {"name": "demo", "file": toml(settings), "mapping": settings}
    recipe = forms.get(kind) or with_overrides(settings, {})
    assert hardtemper.build(recipe, seed=7, **{"finetune.epochs": 9}) == "built"
    made = given["recipe"]
    assert (made.seed, made.finetune.epochs) == (7, 9)
    assert made.name == ("fashion-mnist-demo" if kind == "name" else "tiny")
    assert given["out"] == Path("out") / made.name
    assert (given["overwrite"], given["keep_work"]) == (False, False)


def test_another_network_has_another_name(given: dict[str, Any], settings: dict[str, Any]) -> None:
    hardtemper.build(settings, **{"data.name": "svhn"})
    assert (given["recipe"].name, given["out"]) == ("cnn8-svhn", Path("out/cnn8-svhn"))
    hardtemper.build(settings, out="there", **{"data.name": "svhn"})
    assert (given["recipe"].name, given["out"]) == ("there", Path("there"))


def test_slips_of_build(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="unknown recipe key 'epochs'"):
        hardtemper.build("demo", epochs=3)
    with pytest.raises(RecipeError, match="did you mean 'demo'"):
        hardtemper.build("dem")
    assert given == {}


def test_bench(bundle: Path, npz: Path) -> None:
    shown: list[BenchReport] = []
    report = hardtemper.bench(bundle, data=str(npz), show=shown.append, **SHORT)
    assert isinstance(report, BenchReport)
    assert shown == [report]
    assert {subject.name for subject in report.subjects} == {"dense", "shipped"}
    assert report.settings["threat"] == "linf:0.1"  # the bundle's adversary's
    verdicts = list(bundle.with_name("copy.bench").glob("*.npz"))
    assert len(verdicts) == 2
    assert not (bundle.with_name("copy.bench") / RESUME_FOLDER).exists()


def test_bench_stores_what_it_is_told_to(bundle: Path, npz: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    settings = SHORT | {"robust": False, "dense": False}
    report = hardtemper.bench(str(bundle), data=str(npz), json_path=path, store=True, **settings)
    assert BenchReport.from_json(path.read_text(encoding="utf-8")) == report
    rows = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["measurements"]
    assert any("bench" in row for row in rows)


def test_what_was_measured_outlives_a_failing_show(bundle: Path, npz: Path) -> None:
    def fail(_: BenchReport) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        hardtemper.bench(bundle, data=str(npz), show=fail, **SHORT)
    assert (bundle.with_name("copy.bench") / RESUME_FOLDER).exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image": 4}, RecipeError, "bench: unknown setting 'image'; expected: one of backends, batches, threads, "),
        ({"repeats": 0}, RecipeError, "bench: repeats; expected: 1 or more"),
        ({"data": "no/such.npz"}, DataError, "no/such.npz"),
        ({"threat": "linf:8"}, InputError, "threat model"),
        ({"attack": "magic"}, InputError, "magic"),
    ],
)
def test_slips_of_bench(bundle: Path, options: dict[str, Any], error: type[InputError], message: str) -> None:
    with pytest.raises(error) as caught:
        hardtemper.bench(bundle, **options)
    assert message in str(caught.value)


def test_verify(bundle: Path) -> None:
    found = hardtemper.verify(bundle, images=5)
    assert isinstance(found, Verification)
    assert (found.proof_logits, found.exact) == (0, True)
    found.gate()
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    with pytest.raises(IntegrityError, match="SHA-256 differs"):
        hardtemper.verify(bundle)


def test_verify_with_test_images(bundle: Path, npz: Path) -> None:
    with pytest.raises(DataError, match="give --data yourself"):
        hardtemper.verify(bundle, images=0, test_images=2)
    found = hardtemper.verify(bundle, images=0, test_images=2, data=str(npz))
    assert found.parity.images == 64 + 4
    assert np.isfinite(found.kernels.integer_share)


def test_the_package_gives_these_functions() -> None:
    assert (hardtemper.build, hardtemper.verify) == (api.build, api.verify)


def test_an_override_may_mend_what_the_recipe_has_wrong(given: dict[str, Any]) -> None:
    broken = {"robust": True, "finetune": {"epochs": "three"}}
    with pytest.raises(RecipeError, match=r"finetune\.epochs"):
        hardtemper.build(broken)
    hardtemper.build(broken, **{"finetune.epochs": 3})
    assert given["recipe"].finetune.epochs == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "fgsm"}, "unknown setting 'preset'.*fix: attack="),
        ({"imges": 3}, "unknown setting 'imges'"),
        ({"images": "3"}, "bench: images; expected: a whole number"),
        ({"attack": None}, "bench: preset; expected: names of attacks"),
        ({"threat": 0.1}, "bench: threat"),
        ({"transfer": "x.onnx"}, "bench: transfer; expected: a tuple of paths"),
    ],
)
def test_settings_of_a_wrong_kind_are_one_line(tiny: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        hardtemper.bench(tiny.path, **settings)


@pytest.mark.parametrize("wrong", [{"images": -1}, {"images": "3"}, {"seed": -1}, {"test_images": True}])
def test_verify_checks_its_numbers(tiny: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"verify: {next(iter(wrong))}; expected: a whole number"):
        hardtemper.verify(tiny.path, **wrong)


def test_the_package_shows_its_functions() -> None:
    from inspect import signature

    assert signature(hardtemper.bench) == signature(api.bench)
    assert set(hardtemper.__all__) <= set(dir(hardtemper))
