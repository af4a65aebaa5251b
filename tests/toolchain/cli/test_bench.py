from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.attacks import catalogue as plans
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.npz_file import load_npz
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.report.to_manifest import store_measurements
from hardtemper.bench.resume import RESUME_FOLDER
from hardtemper.bench.robustness.alarm import Alarm
from hardtemper.bench.robustness.alarm_checks import Checks
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.export.bundle_writer import update_measurements
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import DataError, HardtemperError, InputError, IntegrityError
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.cli.bench import bench
from hardtemper.toolchain.cli.console import console

SHORT = ["--warmup", "0", "--repeats", "2", "--min-seconds", "0", "--batch", "2"]
FAST = [*SHORT, "--attack", "paper"]


def classifier(shape: tuple[int, int, int] = (1, 4, 4)) -> bytes:
    """A linear classifier of three classes on uint8 pixels."""
    weights = np.random.default_rng(0).integers(-7, 8, (int(np.prod(shape)), 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["image", "scale"], ["x"]),
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.float32(2**-8), "scale"), numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.ModelProto.SerializeToString(model))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty test images of 4 x 4 pixels."""
    rng = np.random.default_rng(1)
    path = tmp_path / "data.npz"
    np.savez(
        path,
        train_images=rng.integers(0, 256, (6, 4, 4), np.uint8),
        train_labels=np.arange(6) % 3,
        test_images=rng.integers(0, 256, (20, 4, 4), np.uint8),
        test_labels=rng.integers(0, 3, 20),
    )
    return path


@pytest.fixture
def make_bundle(tmp_path: Path, write_toy: Callable[..., Path]) -> Callable[..., Path]:
    def make(recipe: dict[str, Any]) -> Path:
        files = {"model.onnx": classifier(), "dense.onnx": classifier()}
        return write_toy(tmp_path / "toy", files, shape=(1, 4, 4), classes=("0", "1", "2"), recipe=recipe)

    return make


def run(*arguments: object) -> Result:
    return CliRunner().invoke(bench, [str(argument) for argument in arguments])


def test_an_onnx_file(model: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    result = run(model, "--data", data, "--json", path, "--threat", "linf:8/255", *FAST)
    assert result.exit_code == 0, result.output
    assert "robust, union (n 20)" in result.stdout
    assert "model: pgd-20: done" in result.stderr
    assert "done" not in result.stdout
    report = BenchReport.from_json(path.read_text(encoding="utf-8"))
    assert report.settings.items() >= {"threat": "linf:8/255", "preset": "paper", "images": 500, "threads": 1}.items()
    assert report.settings["clean_images"] is None


def test_every_setting_arrives(model: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    given = ["--images", 5, "--clean-images", 6, "--threads", "all", "--seed", 3, "--sequential", "--batch", 1]
    given += ["--no-dense", "--backend", "openvino", "--backend", "onnxruntime"]
    result = run(model, "--data", data, "--json", path, *FAST, *given)
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text(encoding="utf-8"))["settings"] == {
        "backends": ["openvino", "onnxruntime"],
        "batches": [2, 1],
        "threads": None,
        "warmup": 0,
        "repeats": 2,
        "min_seconds": 0.0,
        "clean_images": 6,
        "robust": True,
        "images": 5,
        "preset": "paper",
        "threat": "linf:0.1",
        "sequential": True,
        "transfer": [],
        "curves": False,
        "corruptions": False,
        "seed": 3,
        "dense": False,
    }


@pytest.mark.parametrize("strict", [True, False])
def test_strict_is_exit_code_1_after_everything_was_shown(
    *, strict: bool, model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The labels are drawn here, so the clean accuracy is chance; nothing is left to go on from."""
    path = tmp_path / "bench.json"
    given = ["bench", model, "--data", data, "--json", path, "--attack", "square", "--images", "4", *SHORT]
    assert main([*map(str, given), *(["--strict"] if strict else [])]) == int(strict)
    said = capfd.readouterr()
    assert "robust, union (n 4)" in said.out
    assert re.search(r"black-box\W+only", said.out)
    assert "model: ALARM, no white-box attack: " in said.err
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == int(strict)
    assert all("figures that are not to be trusted" in line and "no white-box attack" in line for line in errors)
    assert "model: alarm no white-box attack" in BenchReport.from_json(path.read_text(encoding="utf-8")).doubts
    assert not (tmp_path / "model.onnx.bench" / RESUME_FOLDER).exists()


def test_strict_passes_what_is_sound(tmp_path: Path, model: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 4, 4)).astype(np.uint8)
    labels = open_onnx(model).predict(images[:, None])
    path = tmp_path / "fits.npz"
    names = {"classes": np.array(["0", "1", "2"])}
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels, **names)
    given = ["bench", model, "--data", path, "--attack", "apgd-ce", "--threat", "linf:8/255", "--strict", *SHORT]
    assert main([str(word) for word in given]) == 0


def test_without_attacks(model: Path, data: Path) -> None:
    result = run(model, "--data", data, "--no-robust", *SHORT)
    assert result.exit_code == 0, result.output
    assert "pgd-20" not in result.stdout
    assert "model: robust accuracy skipped: --no-robust was given" in result.stderr
    assert not (model.parent / "model.onnx.bench").exists()


@pytest.mark.parametrize(
    "given",
    [
        ["--attack", "paper"],
        ["--transfer", "x.onnx"],
        ["--threat", "linf:0.1->9"],
        ["--sequential"],
        ["--no-sequential"],
        ["--curves"],
    ],
    ids=str,
)
def test_how_to_attack_is_refused_where_nothing_is_attacked(model: Path, data: Path, given: list[str]) -> None:
    result = run(model, "--data", data, "--no-robust", *SHORT, *given)
    assert result.exit_code == 2
    assert f"--no-robust attacks nothing: leave {given[0].replace('--no-', '--')} out" in result.stderr


@pytest.mark.parametrize(("robust", "threat"), [(True, "linf:3/255"), (False, "linf:0.1")])
def test_a_bundle_brings_its_data_and_adversary(
    *,
    make_bundle: Callable[..., Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    robust: bool,
    threat: str,
) -> None:
    monkeypatch.setattr("hardtemper.bench.data.load.load_named", lambda name, **_: {"mnist": load_npz(data)}[name])
    recipe = {"data": {"name": "mnist", "root": None}, "robust": robust, "adversary": {"threat": "linf:3/255"}}
    path = tmp_path / "bench.json"
    result = run(make_bundle(recipe), "--json", path, *FAST)
    assert result.exit_code == 0, result.output
    report = BenchReport.from_json(path.read_text(encoding="utf-8"))
    assert [subject.name for subject in report.subjects] == ["dense", "shipped"]
    assert (report.source, report.settings["threat"]) == (str(data), threat)


def test_images_of_another_size_are_resized_as_the_recipe_says(
    make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (6, 8, 8), np.uint8), np.arange(6) % 3
    data = tmp_path / "large.npz"
    np.savez(data, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    bundle = make_bundle({"data": {"name": "elsewhere", "image_size": 4}})
    assert run(bundle, "--data", data, *FAST).exit_code == 0
    result = run(bundle, "--data", data, "--image-size", 8, *FAST)
    assert isinstance(result.exception, HardtemperError)
    assert "got: [N, 1, 8, 8]" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threat", "linf"], "cannot read the threat model"),
        (["--threat", "linf:8"], "out of range"),
        (["--threat", "linf:0.001"], "no other 8-bit image"),
        (["--attack", "pper"], "did you mean 'paper'"),
        (["--attack", "quick,sqare"], "did you mean 'square'"),
        (["--store"], "--store needs a bundle; this is an ONNX file; fix: leave --store out"),
        (["--transfer", "none.onnx"], "none.onnx: no such model"),
        (["--data", "fashon-mnist"], "did you mean 'fashion-mnist'"),
        (["--data", "other.npz"], "other.npz does not exist"),
        (["--images", "none"], "expected a number of 1 or more, or 'all'; got 'none'"),
        (["--images", "0"], "expected a number of 1 or more, or 'all'; got '0'"),
        (["--threads", "-2"], "expected a number of 1 or more, or 'all'; got '-2'"),
        (["--batch", "0"], "0 is not in the range x>=1"),
        (["--repeats", "0"], "0 is not in the range x>=1"),
        (["--seed", "-1"], "-1 is not in the range 0<=x<=9223372036854775807"),
        (["--seed", str(2**64)], "is not in the range 0<=x<=9223372036854775807"),
        (["--image-size", "0"], "0 is not in the range x>=8"),
        (["--min-seconds", "nan"], "bench: min_seconds; expected: 0 or more, and less than 2^63; got: nan"),
        (["--min-seconds", "inf"], "bench: min_seconds"),
        (["--threat", "linf:0.1->3"], "the target of linf:0.1->3 is no class of data; expected: a class from 0 to 2"),
        (["--attack", "transfer"], "there is no other network to make candidates on; name one with --transfer"),
        (["--attack", "multi-targeted", "--threat", "linf:0.1->2"], "no attack of 'multi-targeted' is left"),
        (["--json", "data.npz/bench.json"], "data.npz/bench.json: cannot write the report"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_bad_options_end_in_one_line_and_exit_code_2(
    *,
    model: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(data.parent)
    assert main(["bench", str(model), "--data", str(data), *FAST, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err.replace("\n", " ")
    assert "latency" not in captured.err, "before anything is measured"
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.onnx", "none.onnx: no such model"),
        ("none", "none: no such bundle"),
        ("data.npz", "data.npz: not a bundle"),
    ],
)
def test_bad_targets(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    assert main(["bench", str(tmp_path / name), "--data", str(data), *FAST]) == 2
    assert message in capsys.readouterr().err


def test_data_that_does_not_fit(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "colour.onnx"
    path.write_bytes(classifier((3, 4, 4)))
    assert main(["bench", str(path), "--data", str(data), *FAST]) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert "expected: [N, 3, 4, 4]; got: [N, 1, 4, 4]; fix: name the data" in line


def test_help_names_every_default_and_an_example() -> None:
    result = run("--help")
    assert result.exit_code == 0
    options = [param for param in bench.params if param.param_type_name == "option"]
    text = " ".join(result.output.split())
    assert "Example: toolchain bench" in text
    for option in options:
        assert option.opts[0] in text
    # --data-root, --download, --transfer, --curves, --corruptions, --store, --strict and --json have none
    assert text.count("[default: ") == len(options) - 8


def test_the_order_of_the_classes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels that the network itself gives: in the right order all of them are right."""
    weights = numpy_helper.to_array(onnx.load(str(model)).graph.initializer[1])
    rng = np.random.default_rng(1)
    for split in ("train", "test"):
        images = rng.integers(0, 256, (30, 4, 4), np.uint8)
        for index, (image, label) in enumerate(zip(images, (images.reshape(30, -1) @ weights).argmax(1), strict=True)):
            path = tmp_path / "pets" / split / ("1", "2", "10")[label] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(image).save(path)
    (tmp_path / "pets" / "test" / "1" / "readme.txt").write_text("x")
    (tmp_path / "order.txt").write_text("1\n2\n10\n")
    shares = {}
    for order in ("name", "natural", str(tmp_path / "order.txt")):
        json_path = tmp_path / "report.json"
        arguments = ["--data", str(tmp_path / "pets"), "--class-order", order, "--json", str(json_path), "--no-robust"]
        assert main(["bench", str(model), *arguments, *SHORT]) == 0
        report = BenchReport.from_json(json_path.read_text())
        accuracy = report.subject("model").find("clean-accuracy")
        assert accuracy is not None
        shares[order] = accuracy.value
        said = capsys.readouterr().err
        assert all(f"pets: {note}\n" in said for note in report.notes)
        assert report.notes[0].startswith("class folders in ")
        assert report.notes[1:] == ("files left out: 1 ending in .txt",)
    assert shares["name"] < 100
    assert shares["natural"] == shares[str(tmp_path / "order.txt")] == 100


def test_download_reaches_the_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, **settings: Any) -> None:
        asked.update(settings)
        raise DataError(name)

    monkeypatch.setattr("hardtemper.toolchain.bundles.recorded_recipe.load_dataset", load)
    (tmp_path / "x.onnx").write_bytes(b"any")
    result = CliRunner().invoke(bench, [str(tmp_path / "x.onnx"), "--data", "mnist", "--download"])
    assert isinstance(result.exception, DataError)
    assert asked["download"] is True


def test_the_verdict_lies_beside_the_target_or_where_it_is_told(model: Path, data: Path, tmp_path: Path) -> None:
    names = set()
    given = [model, "--data", data, "--threat", "linf:8/255", *FAST]
    for folder, more in ((tmp_path / "model.onnx.bench", []), (tmp_path / "there", ["--work", tmp_path / "there"])):
        result = run(*given, *more)
        assert result.exit_code == 0, result.output
        (verdict,) = folder.iterdir()
        names.add(verdict.name)
        assert verdict.match("model-paper-linf-8_255-n20-seed0-????????.npz")
        assert str(verdict) in result.stderr.replace("\n", "")
        assert read_archive(verdict).threat == ThreatModel("linf", 8 / 255)
    assert len(names) == 1


def test_a_bundle_in_the_current_folder(
    make_bundle: Callable[..., Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle({})
    monkeypatch.chdir(path)
    result = run(".", "--data", data, "--no-dense", *FAST)
    assert result.exit_code == 0, result.output
    (verdict,) = path.parent.glob("toy.bench/shipped-paper-*.npz")
    monkeypatch.chdir(path.parent)
    result = run(path.name, "--data", data, "--no-dense", *FAST)
    assert f": toy.bench/{verdict.name}" in result.stderr.replace("\n", "")  # as the target was given


def test_verdicts_on_other_images_lie_beside_each_other(model: Path, data: Path, tmp_path: Path) -> None:
    """Other data, another network to transfer from, one attack after the other: each has its own file."""
    with np.load(data) as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "test_images": 255 - arrays["test_images"]})
    content = onnx.load_from_string(classifier())
    content.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32(2**-7), "scale"))
    onnx.save(content, tmp_path / "twin.onnx")
    given = ["--work", tmp_path / "work", *SHORT, "--attack", "pgd-20"]
    for more in (
        ["--data", data],
        ["--data", tmp_path / "other.npz"],
        ["--data", data, "--transfer", tmp_path / "twin.onnx"],
        ["--data", data, "--sequential"],
        ["--data", data],
    ):
        result = run(model, *given, *more)
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "work").glob("model-pgd-20-linf-0.1-n20-seed0-????????.npz"))) == 4


def test_what_was_measured_outlives_a_closed_stdout(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    path = tmp_path / "bench.json"
    monkeypatch.setattr(console, "print", closed)
    result = run(model, "--data", data, "--json", path, *FAST)
    assert isinstance(result.exception, BrokenPipeError)
    assert BenchReport.from_json(path.read_text(encoding="utf-8")).dataset == "data"


def test_a_report_that_cannot_be_stored_leaves_the_pieces(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise InputError("no space left")

    path = tmp_path / "bench.json"
    path.write_text("what was there")
    monkeypatch.setattr("hardtemper.bench.report.text.write_report", full)
    result = run(model, "--data", data, "--json", path, *FAST)
    assert isinstance(result.exception, InputError)
    assert path.read_text() == "what was there"
    assert list((tmp_path / "model.onnx.bench" / RESUME_FOLDER).iterdir())


def test_a_bundle_that_was_built_anew_gets_no_numbers_of_the_old_one(
    make_bundle: Callable[..., Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle({})
    before = read_bundle(path).manifest.measurements

    def stored(report: BenchReport, target: Path) -> Any:
        (subject,) = report.subjects
        return store_measurements(replace(report, subjects=(replace(subject, graph_sha256="0" * 64),)), target)

    monkeypatch.setattr("hardtemper.bench.report.to_manifest.store_measurements", stored)
    result = run(path, "--data", data, "--store", "--no-dense", *FAST)
    assert isinstance(result.exception, IntegrityError)
    assert "not the graph that was measured" in str(result.exception)
    assert read_bundle(path).manifest.measurements == before


def test_the_users_own_folder_called_pieces_stays(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("pieces", RESUME_FOLDER):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine").write_text("")
    result = run(model, "--data", data, "--work", ".", *FAST)
    assert result.exit_code == 0, result.output
    assert [path.name for folder in ("pieces", RESUME_FOLDER) for path in (tmp_path / folder).iterdir()] == [
        "mine",
        "mine",
    ]


def test_store_puts_the_numbers_into_the_bundle(
    make_bundle: Callable[..., Path], data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, loud = (Alarm(name=f, count=c, n=20, threshold=0.05) for f, c in (("zero gradient", 0), ("flat loss", 19)))
    found = Checks(alarms=(quiet, loud), skipped=())
    monkeypatch.setattr("hardtemper.bench.robustness.assess.look_for_alarms", lambda *_, **__: found)
    path = make_bundle({"data": {"name": "elsewhere", "root": None}})
    before = read_bundle(path)
    build_row = {"name": "held-out accuracy", "value": 0.5, "unit": "share", "n": 10}
    update_measurements(before, [build_row])
    for threat in ("linf:8/255", "linf:4/255"):
        result = run(path, "--data", data, "--store", "--threat", threat, "--no-dense", *FAST)
        assert result.exit_code == 0, result.output
    kept, *stored = read_bundle(path).manifest.measurements
    assert kept == build_row
    assert {row["bench"]["dataset"] for row in stored} == {"data"}
    robust = [row for row in stored if row["name"] == "robust-accuracy"]
    assert {row["settings"]["threat"] for row in robust} == {"linf:4/255"}, "the last run's alone"
    assert [row["settings"]["attack"] for row in robust] == ["pgd-20", "union"]
    assert robust[1]["settings"]["alarms"] == "data mismatch, flat loss"
    alarms = {row["settings"]["alarm"]: row["settings"]["raised"] for row in stored if row["name"] == "alarm"}
    assert {name for name, raised in alarms.items() if raised} == {"data mismatch", "flat loss"}, "labels are drawn"
    assert alarms["zero gradient"] is False
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "robust, union (n 20)" in said
    assert re.search(r"alarm, zero gradient\W+quiet", said)
    assert re.search(r"alarm, flat loss\W+RAISED, 95.0 % of 20", said)
    two = ["--backend", "onnxruntime", "--backend", "openvino", "--no-robust"]
    assert run(path, "--data", data, "--store", "--no-dense", *two, *SHORT).exit_code == 0
    capsys.readouterr()
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "latency, batch 2 (n 2) " in said
    assert "latency, batch 2 (n 2), openvino" in said


def test_a_run_that_is_interrupted_goes_on(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", str(model), "--data", str(data), *FAST, "--attack", "fgsm,pgd-20"]
    seen: list[str] = []
    attack_pixels = plans.attack_pixels

    def stop_at_pgd(name: str, *given: Any, **settings: Any) -> Any:
        seen.append(name)
        if name == "pgd-20" and seen.count(name) == 1:
            raise KeyboardInterrupt
        return attack_pixels(name, *given, **settings)

    for name in ("fgsm", "pgd-20"):
        made = plans.ATTACKS[name]

        def planned(threat: Any, classes: int, made: Any = made) -> Any:
            plan = made(threat, classes)
            return replace(plan, search=partial(stop_at_pgd, *plan.search.args))

        monkeypatch.setitem(plans.ATTACKS, name, planned)
    assert main(arguments) == 130
    assert capsys.readouterr().err.endswith("interrupted; the same command goes on where it stopped\n")
    assert len(list((tmp_path / "model.onnx.bench" / RESUME_FOLDER).iterdir())) == 1
    assert main(arguments) == 0
    assert seen == ["fgsm", "pgd-20", "pgd-20"]
    assert not (tmp_path / "model.onnx.bench" / RESUME_FOLDER).exists()


def test_a_bundles_digest_is_held_and_told(
    make_bundle: Callable[..., Path], model: Path, data: Path, tmp_path: Path
) -> None:
    path, report = make_bundle({"data": {"name": "elsewhere", "root": None}}), tmp_path / "bench.json"
    before = read_bundle(path).digest
    asked = ("--data", data, "--no-robust", "--no-dense", "--digest", before, *SHORT)
    result = run(path, *asked, "--store", "--json", report)
    assert result.exit_code == 0, result.output
    after = read_bundle(path).digest
    assert after != before
    assert f"digest: {after}" in result.stderr.splitlines()
    assert BenchReport.from_json(report.read_text(encoding="utf-8")).bundle_sha256 == after
    for target, error, message in (
        (path, IntegrityError, f"another bundle; expected: digest {before}; got: {after}"),
        (model, InputError, "model.onnx: digest; expected: a bundle; got: an ONNX file; fix: leave the digest out"),
    ):
        result = run(target, *asked)
        assert isinstance(result.exception, error)
        assert message in str(result.exception)


def test_a_bundle_that_changes_meanwhile_gets_no_numbers(
    make_bundle: Callable[..., Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle({})

    def changed(report: BenchReport, bundle: Any) -> Any:
        other = update_measurements(bundle, [{"name": "clean accuracy", "value": 1.0, "unit": "share"}])
        assert other.digest != bundle.digest
        return store_measurements(report, bundle)

    monkeypatch.setattr("hardtemper.bench.report.to_manifest.store_measurements", changed)
    result = run(path, "--data", data, "--store", "--no-dense", "--no-robust", *SHORT)
    assert "changed since it was read" in str(result.exception)
    assert [row["name"] for row in read_bundle(path).manifest.measurements] == ["clean accuracy"]
