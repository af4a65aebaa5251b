"""Build, bench and verify as functions: what the commands of the same names call.

    hardtemper.build("demo", out="out/demo")   ->  Build
    hardtemper.bench("out/demo")               ->  BenchReport
    hardtemper.verify("out/demo")              ->  Verification

Each returns the frozen result that its command prints, and raises the package's own exceptions. The frameworks are
imported when a function is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.errors import RecipeError
from ..runtime.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from ..bench.attacks.threat.threat_model import ThreatModel
    from ..bench.report.report import BenchReport
    from ..bench.settings import BenchSettings
    from .bundles.verification import Verification
    from .pipeline.pipeline import Build
    from .recipe.recipe import Recipe

__all__ = ["DEFAULT_DATA", "bench", "build", "verify"]

DEFAULT_DATA = "fashion-mnist"
"""The data set of `bench` where neither the user nor a bundle names one."""


def build(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    keep_work: bool = False,
    progress: ProgressCallback = silent,
    **overrides: Any,
) -> Build:
    """Train, compress, fine-tune, quantize, prove, and write a bundle.

    An interrupted build goes on where it stopped when it is called again with the same arguments.

    Args:
        recipe: the name of a shipped recipe, a TOML file, the same as a mapping, or a `Recipe`.
        out: the bundle's folder; by default out/NAME, the recipe's name or, of another model or data set than the
            recipe's, MODEL-DATA.
        overwrite: replace the bundle at `out`.
        keep_work: keep the checkpoints, so that a changed recipe can start from them.
        progress: told how far each stage is.
        overrides: single keys of the recipe, as for `toolchain build --set`: `seed=1`, `**{"finetune.epochs": 3}`.

    Raises:
        InputError: bad recipe, data or model, or `out` cannot be written; before anything is trained, as far as it can
            be known then.
        GateError: too few MACs in integer kernels, or twin and engine differ although the scheme is exact.
        MissingExtraError: the extra `build` is not installed.
    """
    from .pipeline.pipeline import build as run
    from .recipe.read import load_recipe, with_overrides
    from .recipe.recipe import Recipe

    folder = None if out is None else Path(out)
    if isinstance(recipe, Recipe):
        given: Mapping[str, Any] = recipe.model_dump(mode="json")
    else:
        given = recipe if isinstance(recipe, Mapping) else load_recipe(str(recipe))
    resolved = with_overrides(given, overrides)
    former = (_given_name(given, "model"), _given_name(given, "data"))
    if "name" not in overrides and (resolved.model.name, resolved.data.name) != former:
        resolved = with_overrides(given, {**overrides, "name": _name_of(resolved, folder)})
    target = folder or Path("out") / resolved.name
    return run(resolved, out=target, overwrite=overwrite, keep_work=keep_work, progress=progress)


def bench(
    target: str | Path,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    class_order: str | None = None,
    attack: str = "default",
    threat: str | ThreatModel | None = None,
    work: str | Path | None = None,
    store: bool = False,
    digest: str | None = None,
    json_path: str | Path | None = None,
    show: Callable[[BenchReport], None] | None = None,
    progress: ProgressCallback = silent,
    **settings: Any,
) -> BenchReport:
    """Measure a bundle or an ONNX classifier on this machine.

    An interrupted run goes on where it stopped when it is called again with the same arguments.

    Args:
        target: a bundle's folder or an ONNX file.
        data: data set name, image folder, .npz or package.module:factory; by default the bundle's, if that is known by
            name, or Fashion-MNIST.
        data_root: folder to look in first for a data set given by name.
        download: download a named data set where no folder holds it.
        image_size: side in pixels to resize images to; by default the bundle's, or as stored.
        class_order: order of an image folder's classes: name (as strings), natural or a text file; by default the
            bundle's, or name.
        attack: attacks, separated by commas: paper, quick, default, standard, full, or single ones such as apgd-ce.
        threat: norm:epsilon in units of pixel / 255, such as linf:8/255; by default the bundle's adversary's, or
            linf:0.1 for gray and linf:8/255 for colour images.
        work: folder for the verdicts with their adversarial images, by default TARGET.bench.
        store: store the numbers and alarms in the bundle's manifest; the bundle has another digest then, see
            `BenchReport.bundle_sha256`.
        digest: the bundle's, as `build` printed it; None takes any.
        json_path: store the report there as JSON.
        show: called with the report while the run could still go on from its finished parts; they are removed when it
            returns, and stay where it fails.
        progress: told how far each task is.
        settings: any other field of `BenchSettings`, such as `images=200`, `robust=False`, `batches=(1,)`.

    Raises:
        InputError: the target, the data or a setting cannot be used, or a file cannot be written.
        IntegrityError: a bundle's file is missing, not listed or of another hash, or its manifest is not of `digest`.
        MissingExtraError: an extra that this run needs is not installed.
    """
    from ..bench.attacks.threat.threat_model import ThreatModel
    from ..bench.report.text import check_writable, write_report
    from ..bench.report.to_manifest import check_stores, store_measurements
    from ..bench.resume import RESUME_FOLDER, ResumeStore
    from ..bench.run import run_bench
    from ..bench.subjects import read_target
    from ..runtime.bundle.reader import Bundle
    from ..runtime.files.json_fields import boolean, text
    from .bundles.recorded_recipe import load_recorded_data, recorded

    target = Path(target)
    if store:
        check_stores(target)
    opened = read_target(target, digest=digest)
    bundle = opened if isinstance(opened, Bundle) else None
    if threat is None and bundle is not None and recorded(bundle, "robust", boolean):
        threat = recorded(bundle, "adversary.threat", text)
    ball = ThreatModel.parse(threat) if isinstance(threat, str) else threat
    resolved = _bench_settings(attack, ball, settings)
    dataset = load_recorded_data(
        bundle,
        name=data,
        root=None if data_root is None else Path(data_root),
        default=DEFAULT_DATA,
        image_size=image_size,
        download=download,
        class_order=class_order,
    )
    if json_path is not None:
        check_writable(Path(json_path))
    folder = _beside(target) if work is None else Path(work)
    unfinished = ResumeStore(folder / RESUME_FOLDER)
    report = run_bench(opened, dataset, resolved, work=folder, store=unfinished, progress=progress)
    # Stored first: what is shown may go to a pipe that is closed. Until then the finished parts are all there is.
    if store and bundle is not None:
        report = replace(report, bundle_sha256=store_measurements(report, bundle).digest)
    if json_path is not None:
        write_report(report, Path(json_path))
    if show is not None:
        show(report)
    unfinished.remove()
    return report


def verify(
    path: str | Path,
    *,
    backend: str = "onnxruntime",
    images: int = 256,
    test_images: int = 0,
    data: str | None = None,
    data_root: str | Path | None = None,
    digest: str | None = None,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Verification:
    """Check every file's hash, count integer kernels, and compare twin and engine bit for bit.

    `Verification.gate()` raises the first check that failed; this function does not.

    Args:
        path: the bundle's folder.
        backend: whose engine is checked, "onnxruntime" or "openvino".
        images: random images to compare in addition to those that the bundle brings.
        test_images: test images to compare, clean and under PGD-20.
        data: the data set of the test images; by default the bundle's, if that is known by name.
        data_root: folder to look in first for a data set given by name.
        digest: the bundle's, as `build` printed it; None takes any.
        seed: of the random images.
        progress: told how far each task is.

    Raises:
        IntegrityError: a file is missing, not listed or of another hash, or the manifest is not of `digest`.
        BundleError: the bundle cannot be read.
        ModelError: the graph cannot be run.
        DataError: test images are asked for and the data set cannot be read, or is the user's to give.
        MissingExtraError: the extra `build`, or the backend's, is not installed.
    """
    from .bundles.verification import verify_bundle

    return verify_bundle(
        Path(path),
        backend=backend,
        images=images,
        seed=seed,
        test_images=test_images,
        data=data,
        data_root=None if data_root is None else Path(data_root),
        digest=digest,
        progress=progress,
    )


def _name_of(recipe: Recipe, out: Path | None) -> str:
    """What to call what a recipe makes of another model or other data than its own: as its folder, or as they are."""
    words = [out.name] if out is not None else [Path(name).name for name in (recipe.model.name, recipe.data.name)]
    words = [re.sub(r"\.(npz|pt2)$", "", word) for word in words]
    return re.sub(r"[^\w.+-]+", "-", "-".join(words)).lstrip("-.+") or "classifier"


def _given_name(recipe: Mapping[str, Any], section: str) -> Any:
    """The model's or the data set's name in a recipe that is not checked yet."""
    from .recipe.recipe import Recipe

    given = recipe.get(section)
    default = getattr(Recipe(), section).name
    return given.get("name", default) if isinstance(given, Mapping) else default


def _bench_settings(attack: str, threat: ThreatModel | None, settings: Mapping[str, Any]) -> BenchSettings:
    from dataclasses import fields

    from ..bench.settings import BenchSettings

    known = [field.name for field in fields(BenchSettings) if field.name not in ("preset", "threat")]
    unknown = [name for name in settings if name not in known]
    if unknown:
        fix = "attack=" if unknown[0] == "preset" else ""
        raise RecipeError(f"bench: unknown setting {unknown[0]!r}", expected=f"one of {', '.join(known)}", fix=fix)
    lists = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    return BenchSettings(preset=attack, threat=threat, **{**settings, **lists})


def _beside(target: Path) -> Path:
    whole = target.resolve()
    beside = whole if target.name in ("", "..") else target  # as it was given, where that has a name
    return beside.with_name(f"{whole.name}.bench")
