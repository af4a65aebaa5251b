"""Each file of examples/ runs: the user's own network and data, the app, and the Python API."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.recipe.read import load_recipe, with_overrides

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TESTED = {"mine", "app", "notebook_api"}


@pytest.fixture
def load_example(load_module: Callable[[Path], ModuleType]) -> Callable[[str], ModuleType]:
    return lambda name: load_module(EXAMPLES / f"{name}.py")


@pytest.fixture
def mine(load_example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that `mine:net` names, with less data."""
    module = load_example("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setattr(module, "TRAIN_IMAGES", 256)
    monkeypatch.setattr(module, "TEST_IMAGES", 32)
    return module


def test_each_has_a_test() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


def test_the_commands_in_mine_are_those_of_the_page(doc: Callable[[str], Any]) -> None:
    text = (EXAMPLES / "mine.py").read_text(encoding="utf-8").split('"""')[1]
    commands = [" ".join(words) for words in doc("docs/your-own.md").commands()]
    assert re.findall(r"^    (.*)$", text, re.MULTILINE) == commands[:3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: in its folder examples/, as the page says."""
    (tmp_path / "examples").mkdir()
    monkeypatch.chdir(tmp_path / "examples")
    return tmp_path


def test_mine(mine: ModuleType, folder: Path, doc: Callable[[str], Any], run: Callable[..., None]) -> None:
    small = ["--epochs", "1", "--set", "data.heldout=64", "--set", "data.calibration=32"]
    small += ["--set", "train.epochs=0", "--set", "finetune.batch_size=32"]
    quick = ["--images", "2", "--clean-images", "8", "--repeats", "1", "--warmup", "0", "--min-seconds", "0"]
    _, build, bench = doc("docs/your-own.md").commands()[:3]
    run(*build[1:], *small)
    run(*bench[1:], *quick, "--batch", "1")
    assert (folder / "out" / "mine" / "model.onnx").is_file()
    assert set(mine.data()["train_labels"]) == {0, 1, 2}


def test_mine_gives_what_it_says(mine: ModuleType) -> None:
    data = mine.data()
    assert data["train_images"].shape == (256, 32, 32, 3)
    assert data["test_images"].dtype == np.uint8
    assert not np.array_equal(data["train_images"][:32], data["test_images"])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_app(
    bundle: Path,
    tmp_path: Path,
    mode: str,
    capsys: pytest.CaptureFixture[str],
    load_example: Callable[[str], ModuleType],
) -> None:
    picture = tmp_path / "photo.png"
    Image.new(mode, (40, 30)).save(picture)
    app = load_example("app")
    assert app.main([str(bundle), str(picture)]) == 0
    said = re.fullmatch(rf"{re.escape(str(picture))}: (\d) \((\d\.\d\d)\)\n", capsys.readouterr().out)
    assert said is not None
    assert 0.25 <= float(said[2]) <= 1
    assert app.main([]) == 2


def test_app_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    Image.new("L", (16, 16)).save(picture)
    code = f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import app; app.main({[str(bundle), str(picture)]!r}); "
    code += "assert not {'torch', 'onnx', 'pydantic', 'click'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_notebook_api(
    npz: Path, tiny: dict[str, list[str]], tmp_path: Path, load_example: Callable[[str], ModuleType]
) -> None:
    pairs = [word.split("=") for word in tiny["build"] if "=" in word]
    overrides: dict[str, Any] = {key: int(value) for key, value in pairs} | {"data.name": str(npz), "model.width": 4}
    recipe = with_overrides(load_recipe("demo"), overrides).model_dump(mode="json", exclude_none=True)
    found = load_example("notebook_api").main(
        recipe,
        out=tmp_path / "notebook",
        attack="quick",
        data=str(npz),
        images=6,
        repeats=1,
        warmup=0,
        min_seconds=0.0,
        batches=(1,),
    )
    assert found.keys() == {"dense", "shipped"}
    assert all(0 <= value <= 100 for value in found.values())


@pytest.mark.parametrize(
    ("inner", "is_channels_last"),
    [(["N", 224, 224, 3], True), (["N", 3 * 224 * 224], False)],
    ids=["channels last", "rows"],
)
def test_an_onnx_file_of_another_form(
    *,
    inner: list[Any],
    is_channels_last: bool,
    doc: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page's lines make an image classifier of a graph that `open_onnx` refuses, and of the same logits."""
    page = doc("docs/your-own.md")
    weights = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(3 * 224 * 224, 5)).astype("f4"), "w")
    nodes = [onnx.helper.make_node("Flatten", ["x"], ["f"]), onnx.helper.make_node("MatMul", ["f", "w"], ["y"])]
    ends = [onnx.helper.make_tensor_value_info(*end) for end in (("x", 1, inner), ("y", 1, ["N", 5]))]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "nhwc.onnx")
    with pytest.raises(ModelError, match=r"docs/your-own.md has the lines"):
        open_onnx("nhwc.onnx")
    (code,) = page.blocks("python")
    if not is_channels_last:
        call = '"Transpose", [image.name], ["inner"], perm=[0, 2, 3, 1]'
        assert call in code
        code = code.replace(call, '"Flatten", [image.name], ["inner"]')
        assert 'make_node("Flatten", [image.name], ["inner"])' in page.text
    exec(compile(code, "docs/your-own.md", "exec"), {})
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 224, 224), np.uint8)
    given = images.transpose(0, 2, 3, 1) if is_channels_last else images.reshape(2, -1)
    session = onnxruntime.InferenceSession("nhwc.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": given.astype(np.float32) / np.float32(255)})
    np.testing.assert_allclose(open_onnx("nchw.onnx")(images), wanted, rtol=1e-5)
