"""A bundle -> a TensorRT engine in this machine's cache, by way of its proved ONNX graph.

    bundle's graph -> engine -> inspector's account -> gate -> cache

The bundle stays as it is: an engine belongs to one kind of GPU and one version of TensorRT, and is made again for
another.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from ...export.proofs.executed_kernels import KernelReport, check_integer_share
from ...export.quantization.targets import target_of
from ...export.tensorrt.engine_builder import Compiled, Options, compile_engine, import_builder
from ...export.tensorrt.inspector import EngineLayer, engine_kernels, read_layers
from ...export.tensorrt.timing import kernel_milliseconds
from ...export.tensorrt.tuning import Placement, fastest_placement
from ...runtime.backends.cuda.driver import Gpu, find_gpu, open_driver
from ...runtime.backends.tensorrt.cache import CachedEngine, Tensor, check_folder, engine_key, read_engine, write_engine
from ...runtime.bundle.reader import Bundle, read_bundle
from ...runtime.errors import BundleError, IntegrityError, ModelError
from ...runtime.files.atomic import replace_file
from ...runtime.files.json_fields import number
from ...runtime.files.onnx_file import OnnxFile
from ...runtime.graph_check.check_graph import check_graph
from ...runtime.progress import ProgressCallback, silent
from .recorded_recipe import recorded

__all__ = ["Compilation", "compile_bundle", "import_engine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compilation:
    """An engine in the cache.

    Attributes:
        path: of the engine.
        entry: what the cache says about it.
        kernels: TensorRT's account, layer by layer; None where the engine was in the cache already.
        layers: the same with the types of inputs, weights and outputs and the tactics.
        timings: milliseconds of each placement that was tried, at the first profile's typical batch.
    """

    path: Path
    entry: CachedEngine
    kernels: KernelReport | None = None
    layers: tuple[EngineLayer, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)


def compile_bundle(
    path: Path,
    *,
    options: Options,
    folder: Path,
    dense: bool = False,
    tune: bool = False,
    rebuild: bool = False,
    progress: ProgressCallback = silent,
) -> Compilation:
    """Build the engine of a bundle for this machine's GPU, unless the cache holds it.

    Args:
        path: the bundle's folder.
        options: what the engine is to be.
        folder: the cache.
        dense: the dense float network instead of the integer graph; it has no gate.
        tune: time the placements that compute the same, and keep the fastest that passes the gate.
        rebuild: build it even so.

    Raises:
        InputError: no driver, no GPU, or an option that this TensorRT does not have.
        MissingExtraError: TensorRT is not installed.
        BundleError: the bundle or the cache cannot be used.
        ModelError: no engine can be built; out of memory names the profile.
        GateError: fewer MACs in int8 kernels than the bundle's recipe asks for; nothing is cached then.
    """
    bundle = read_bundle(path)
    source, least = _source(bundle, dense=dense)
    gpu = find_gpu(open_driver())
    version = str(import_builder().__version__)
    entry = _Description(source, gpu, version, options, tune=tune)
    found = folder / f"{entry.key}.engine"
    if folder.is_dir():
        check_folder(folder)
    if not rebuild and found.is_file():
        with suppress(BundleError):  # a damaged entry is built again
            return Compilation(path=found, entry=read_engine(found)[0])
    content = source.whole()
    check_graph(content, what=str(source.path))
    model = onnx.load_model_from_string(content)
    cache = _TimingCache(folder, version, gpu)

    def build(placement: Placement) -> Compiled:
        progress("compile", 0, 1, str(placement))
        compiled = compile_engine(model, options=options, placement=placement, timing_cache=cache.read())
        cache.write(compiled.timing_cache)
        return compiled

    def milliseconds(compiled: Compiled) -> float:
        if _account(compiled)[1].integer_share < least:
            return math.inf  # it would not pass the gate
        return _time(compiled, entry, options)

    if tune:
        _, compiled, timings = fastest_placement(build, milliseconds)
    else:
        compiled, timings = build(Placement()), {}
    layers, kernels = _account(compiled)
    progress("compile", 1, 1, f"{kernels.integer_share:.1%} of the MACs in int8 kernels")
    check_integer_share(kernels, least)
    described = entry.of(compiled)
    return Compilation(
        path=write_engine(folder, described, compiled.engine),
        entry=described,
        kernels=kernels,
        layers=layers,
        timings=timings,
    )


def import_engine(path: Path, engine: Path, *, folder: Path, trust: bool) -> Compilation:
    """Take an engine that was compiled elsewhere into the cache: to open it is to run its code.

    Args:
        path: the bundle's folder.
        engine: the engine, its entry beside it.
        folder: the cache.
        trust: say so.

    Raises:
        IntegrityError: `trust` is not set, or the engine is not the one that its entry describes.
        BundleError: it was built from another graph.
        ModelError: it does not run on this GPU.
    """
    if not trust:
        raise IntegrityError(
            f"{engine}: this engine was not built here, and opening it runs its code",
            expected="an engine that was compiled here",
            fix="leave --engine out, or say --trust-engine if you know who built it",
        )
    bundle = read_bundle(path)
    entry, content = read_engine(engine, trust=True)
    names = (bundle.manifest.graph, bundle.manifest.dense)
    graphs = {hashlib.sha256(bundle.onnx_file(name).whole()).hexdigest() for name in names if name is not None}
    if entry.graph_sha256 not in graphs:
        raise BundleError(
            f"{engine}: not built from {path}", expected=" or ".join(sorted(graphs)), got=entry.graph_sha256
        )
    gpu = find_gpu(open_driver())
    reason = entry.mismatch(tensorrt=entry.tensorrt, compute_capability=gpu.compute_capability)
    if reason:
        raise ModelError(f"{engine}: {reason}", fix="toolchain compile BUNDLE --target tensorrt, on this machine")
    return Compilation(path=write_engine(folder, entry, content), entry=entry)


def _source(bundle: Bundle, *, dense: bool) -> tuple[OnnxFile, float]:
    """The graph, and the share of MACs in int8 kernels that its engine needs."""
    manifest = bundle.manifest
    if dense:
        if manifest.dense is None:
            raise BundleError(f"{bundle.path}: no dense network", expected="a bundle that was built with one")
        return bundle.onnx_file(manifest.dense), 0.0
    target = target_of(manifest.quantization)
    if target is None or not target.compiles:
        got = manifest.quantization.get("target", "a float graph")
        raise ModelError(
            f"{bundle.path}: not quantized for TensorRT",
            expected="symmetric int8 activations",
            got=f"quantize.target = {got!r}",
            fix="toolchain build --target tensorrt",
        )
    share = recorded(bundle, "quantize.integer_share", number)
    return bundle.graph(), 1.0 if share is None else share


class _Description:
    """What a cache entry says before the engine is built, and after."""

    def __init__(self, source: OnnxFile, gpu: Gpu, version: str, options: Options, *, tune: bool) -> None:
        self._facts = {
            "graph_sha256": hashlib.sha256(source.whole()).hexdigest(),
            "tensorrt": version,
            "compute_capability": gpu.compute_capability,
            "driver": gpu.cuda,
            "profiles": tuple((sizes.least, sizes.typical, sizes.most) for sizes in options.batches),
        }
        self._flags = {
            "fp16": options.fp16,
            "version_compatible": options.version_compatible,
            "hardware_compatible": options.hardware_compatible,
            "tuned": tune,
        }
        self._gpu = gpu

    @property
    def key(self) -> str:
        return engine_key(**self._facts, flags=self._flags)  # type: ignore[arg-type]

    def of(self, compiled: Compiled) -> CachedEngine:
        image, logits = compiled.graph.graph.input[0], compiled.graph.graph.output[0]
        return CachedEngine(
            **self._facts,  # type: ignore[arg-type]
            engine_sha256=hashlib.sha256(compiled.engine).hexdigest(),
            gpu=self._gpu.name,
            flags=self._flags | {"placement": str(compiled.placement)},
            input=_tensor(image),
            output=_tensor(logits),
        )


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    shape = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)[1:]
    return Tensor(name=value.name, dtype=kind, shape=shape)


def _account(compiled: Compiled) -> tuple[tuple[EngineLayer, ...], KernelReport]:
    layers = read_layers(compiled.inspection)
    return layers, engine_kernels(layers, compiled.graph, version=compiled.version)


def _time(compiled: Compiled, description: _Description, options: Options) -> float:
    from ...runtime.backends.tensorrt.open import open_engine

    with tempfile.TemporaryDirectory() as folder:  # its mode is 700, so the engine in it is ours
        path = write_engine(Path(folder), description.of(compiled), compiled.engine)
        return kernel_milliseconds(open_engine(path), options.batches[0].typical)


class _TimingCache:
    """What TensorRT learned about its kernels on this GPU; the next build need not measure them again."""

    def __init__(self, folder: Path, version: str, gpu: Gpu) -> None:
        name = hashlib.sha256(f"{version} {gpu.name} {gpu.cuda}".encode()).hexdigest()[:16]
        self._path = folder / f"{name}.timings"

    def read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""

    def write(self, content: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._path.with_name(f".{secrets.token_hex(8)}")  # two processes may learn at once
            replace_file(self._path, content, temporary=temporary)
        except OSError:
            return  # without it the next build takes longer, no more
