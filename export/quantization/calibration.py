"""The range of each activation, from calibration images: torch.ao's observers behind one function.

The float graph runs in ONNX Runtime with the wanted values as outputs; an observer per value sees every batch.
    minmax      smallest and largest value seen                         (MinMaxObserver)
    histogram   the range of least L2 error by a non-linear search      (HistogramObserver)
    percentile  symmetric tails cut off a histogram                     (HistogramObserver's histogram)
    mse         the grid of least squared error on that histogram; with power-of-two scales, the best exponent
torch.ao is deprecated: this is the only file that imports it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ...runtime.backends.onnxruntime import open_session, session_options
from ...runtime.errors import DataError
from ...runtime.progress import ProgressCallback, silent
from ...runtime.shapes import UInt8
from ..batch_size import batch_size
from ..integer_types import UINT8
from .scheme import Grid, Scheme

__all__ = ["calibrate"]

_Array = npt.NDArray[np.float64]

_BINS = 2048
_BATCH = 32


def calibrate(
    model: onnx.ModelProto,
    values: Sequence[str],
    images: UInt8[npt.NDArray[np.uint8], "n c h w"],
    *,
    scheme: Scheme,
    bits: Mapping[str, int] | None = None,
    progress: ProgressCallback = silent,
) -> dict[str, Grid]:
    """The grid of each value.

    Args:
        model: float graph of uint8 pixels [N, C, H, W].
        values: names of float values in it.
        images: calibration images, uint8 [N, C, H, W]; training data, never test data.
        scheme: observer and kind of scale.
        bits: of the grids, by name; 8 where it does not say.

    Raises:
        DataError: no images, or a value that is not finite on them.
    """
    if len(images) == 0:
        raise DataError("calibration", expected="at least one image", got="none", fix="data.calibration = 512")
    if not values:  # a network of one linear layer
        return {}
    with warnings.catch_warnings():
        for message in (r".*torch\.ao.*", r".*reduce_range.*", r".*torch\.quantization.*"):
            warnings.filterwarnings("ignore", message=message)
        widths = {name: (bits or {}).get(name, UINT8.bits) for name in values}
        observers = {name: _observer(scheme, widths[name]) for name in values}
        for done, batch in _activations(model, values, images):
            for name, array in batch.items():
                _observe(observers[name], name, array)
            progress("calibrate", done, len(images), f"{len(values)} tensors")
        return {name: _grid(observer, scheme, widths[name]) for name, observer in observers.items()}


def _activations(
    model: onnx.ModelProto, values: Sequence[str], images: npt.NDArray[np.uint8]
) -> Iterator[tuple[int, Mapping[str, npt.NDArray[np.float32]]]]:
    """Batch by batch: how many images were seen, and their values by name."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    known = {o.name for o in exposed.graph.output}
    for name in values:
        if name not in known:
            exposed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = open_session(exposed.SerializeToString(), session_options())
    pixels = session.get_inputs()[0].name
    of_one = sum(output.nbytes for output in session.run(list(values), {pixels: images[:1]}))
    size = batch_size(of_one, most=_BATCH)
    for start in range(0, len(images), size):
        outputs = session.run(list(values), {pixels: images[start : start + size]})
        yield min(start + size, len(images)), dict(zip(values, outputs, strict=True))


def _observer(scheme: Scheme, bits: int) -> torch.nn.Module:
    from torch.ao.quantization.observer import HistogramObserver, MinMaxObserver

    if scheme.observer == "minmax":
        return MinMaxObserver(dtype=torch.quint8, qscheme=torch.per_tensor_affine)
    codes = 1 << bits
    settings: dict[str, Any] = {"dtype": torch.quint8, "qscheme": torch.per_tensor_affine}
    observer = HistogramObserver(bins=_BINS, quant_min=0, quant_max=codes - 1, **settings)
    observer.dst_nbins = codes  # which its search takes from the type
    return observer


def _observe(observer: torch.nn.Module, name: str, array: npt.NDArray[np.float32]) -> None:
    if not np.isfinite(array).all():
        raise DataError(f"calibration of {name!r}", expected="finite values", got="NaN or infinity", fix="train longer")
    observer(torch.from_numpy(array))


def _grid(observer: torch.nn.Module, scheme: Scheme, bits: int) -> Grid:
    low, high = float(observer.min_val), float(observer.max_val)  # type: ignore[arg-type]
    if scheme.observer == "minmax" or low == high:
        return Grid.covering(low, high, scheme=scheme, bits=bits)
    if scheme.observer == "histogram":
        scale, zero = observer.calculate_qparams()  # type: ignore[operator]
        covered = Grid(float(scale), int(zero), bits)
        return Grid.covering(covered.low, covered.high, scheme=scheme, bits=bits)
    counts = np.asarray(observer.histogram, np.float64)
    centers = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    if low >= 0:
        centers[0] = low  # after a ReLU most of the first bin is exactly zero
    if scheme.observer == "percentile":
        return Grid.covering(*_without_tails(low, centers, counts, scheme.percentile), scheme=scheme, bits=bits)
    widest = Grid.covering(low, high, scheme=scheme, bits=bits)
    return _least_error(widest, centers, counts, scheme)


def _without_tails(low: float, centers: _Array, counts: _Array, percentile: float) -> tuple[float, float]:
    """The range that holds `percentile` of the values; what has no values below zero loses at the top only."""
    tail = (1 - percentile / 100) / (1 if low >= 0 else 2)
    share = np.cumsum(counts) / counts.sum()
    top = centers[min(int(np.searchsorted(share, 1 - tail)), len(centers) - 1)]
    return low if low >= 0 else float(centers[int(np.searchsorted(share, tail))]), float(top)


def _least_error(widest: Grid, centers: _Array, counts: _Array, scheme: Scheme) -> Grid:
    """The grid of least squared error; the widest candidate is the one that min-max gives. Few codes leave out more."""
    fewer = UINT8.bits - widest.bits
    if scheme.exact:
        candidates = [replace(widest, scale=widest.scale * 2.0**-k) for k in range(4 + fewer)]
    else:
        shares = np.linspace(0.3, 1, 71) if not fewer else np.geomspace(0.02, 1, 71)
        ends = [(widest.low * share, widest.high * share) for share in shares]
        candidates = [Grid.covering(*both, scheme=scheme, bits=widest.bits) for both in ends]
    return min(reversed(candidates), key=lambda grid: _squared_error(grid, centers, counts))


def _squared_error(grid: Grid, centers: _Array, counts: _Array) -> float:
    q = np.clip(np.rint(centers / grid.scale) + grid.zero_point, grid.lowest, grid.highest)
    return float((counts * ((q - grid.zero_point) * grid.scale - centers) ** 2).sum())
