"""Everything that bench measures: one row for each name, which makers, tables and reports read.

A maker takes the unit from here (`measurement.measured`, `measurement.share`), a report the label, the section and the
format. A name that is not in the table is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..runtime.errors import InputError

__all__ = ["MEASURES", "SECTIONS", "Measure", "Section", "Spread", "measure_of"]

Section = Literal[
    "size", "latency", "memory", "accuracy", "alarms", "twin", "curves", "distances", "corruptions", "device"
]
"""Rows of a report that stand together."""

SECTIONS: tuple[Section, ...] = (
    "size",
    "latency",
    "memory",
    "accuracy",
    "alarms",
    "twin",
    "curves",
    "distances",
    "corruptions",
    "device",
)
"""In the order of a report."""

Spread = Literal["95 % Wilson interval", "10th and 90th percentile", "quartiles"]
"""What the two numbers around a value are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One kind of measurement.

    Attributes:
        name: its identifier.
        label: of its row; words in braces are filled in from the settings, `{n}` from the measurement.
        unit: of the value as it is stored.
        section: where the row stands.
        format: of the value and its spread, as in Python's format(), after `divisor`.
        text: how the value is written; `{value}`, `{low}` and `{high}` are formatted already, other words in braces are
            filled in as in the label.
        spread: what `{low}` and `{high}` are; None where the value has none.
        divisor: the value is divided by it before it is shown.
    """

    name: str
    label: str
    unit: str
    section: Section
    format: str
    text: str
    spread: Spread | None = None
    divisor: float = 1.0


def _share(name: str, label: str, section: Section, more: str = "") -> Measure:
    """Images of n in per cent."""
    text = "{value} % [{low}, {high}]" + more
    return Measure(
        name=name, label=label, unit="%", section=section, format=".1f", text=text, spread="95 % Wilson interval"
    )


def _minimal(quartile: str) -> Measure:
    return Measure(
        name=f"minimal-perturbation-{quartile}",
        label=f"distance, minimal perturbation found, {quartile} (n {{n}})",
        unit="levels",
        section="distances",
        format=".1f",
        text="{value} levels",
    )


def _mean(name: str, label: str) -> Measure:
    return Measure(name=name, label=label, unit="%", section="corruptions", format=".1f", text="{value} %")


_TABLE = (
    Measure(name="size", label="size", unit="bytes", section="size", format=",.1f", text="{value} KiB", divisor=1024.0),
    Measure(
        name="size-gzip",
        label="size, gzip",
        unit="bytes",
        section="size",
        format=",.1f",
        text="{value} KiB",
        divisor=1024.0,
    ),
    Measure(name="parameters", label="parameters", unit="numbers", section="size", format=",.0f", text="{value}"),
    Measure(
        name="latency",
        label="latency, batch {batch} (n {n})",
        unit="ms",
        section="latency",
        format=".3f",
        text="{value} ms (p90 {p90_ms:.3f}, p99 {p99_ms:.3f})",
        spread="10th and 90th percentile",
    ),
    Measure(
        name="throughput",
        label="throughput, batch {batch}",
        unit="images/s",
        section="latency",
        format=",.0f",
        text="{value} images/s",
    ),
    Measure(
        name="speedup",
        label="speedup, batch {batch}",
        unit="x",
        section="latency",
        format=".2f",
        text="{value} x (paired {paired:.2f})",
    ),
    Measure(
        name="peak-memory",
        label="memory, peak, batch {batch}",
        unit="MiB",
        section="memory",
        format=".1f",
        text="{value} MiB{runtime_alone}",
    ),
    _share("clean-accuracy", "accuracy, clean (n {n})", "accuracy", "{unanswered}{doubt}"),
    _share("robust-accuracy", "robust, {attack}{scope} (n {n})", "accuracy", "{worth}{doubt}"),
    # an upper bound under a name of its own, in the row of what it is not: nobody takes it for the figure
    Measure(
        name="robust-accuracy-withheld",
        label="robust, {attack} (n {n})",
        unit="%",
        section="accuracy",
        format=".1f",
        text="withheld, at most {value} %{worth}{doubt}",
        spread="95 % Wilson interval",
    ),
    _share("broken-by-queries-only", "robust, broken by queries only (n {n})", "accuracy"),
    _share("broken-by-transfer-only", "robust, broken by transfer only (n {n})", "accuracy"),
    Measure(
        name="alarm",
        label="alarm, {alarm}",
        unit="%",
        section="alarms",
        format=".1f",
        # n stands with the figure: engines are checked on different numbers of images, and share a row
        text="{state}, {value} % of {n} (limit {threshold:g} %)",
        spread="95 % Wilson interval",
    ),
    Measure(
        name="twin-mismatch",
        label="twin's logits differ, {on}",
        unit="images",
        section="twin",
        format=".0f",
        text="{value} of {n} images{difference}",
    ),
    Measure(
        name="verdict-moved",
        label="twin's verdict differs",
        unit="images",
        section="twin",
        format=".0f",
        text="{value} of {n} images",
    ),
    _share("robust-accuracy-by-epsilon", "curve, {threat} (n {n})", "curves"),
    _share("robust-accuracy-by-steps", "curve, pgd, {steps} steps (n {n})", "curves"),
    _minimal("p25"),
    _minimal("p50"),
    _minimal("p75"),
    _share("robust-accuracy-by-distance", "distance, beyond {norm}:{epsilon:.4g} (n {n})", "distances"),
    Measure(
        name="clever",
        label="distance, CLEVER score, median (n {n})",
        unit="levels",
        section="distances",
        format=".1f",
        text="{value} levels (p25 {low}, p75 {high})",
        spread="quartiles",
    ),
    _share("corruption-accuracy", "corrupted, {corruption} {severity} (n {n})", "corruptions"),
    _mean("mean-corruption-accuracy", "corrupted, mean accuracy (n {n})"),
    _mean("mean-corruption-error", "corrupted, mean error (n {n})"),
    Measure(
        name="device-latency",
        label="device latency, {step}, batch {batch} (n {n})",
        unit="ms",
        section="device",
        format=".3f",
        text="{value} ms (p90 {p90_ms:.3f}, p99 {p99_ms:.3f})",
        spread="10th and 90th percentile",
    ),
    Measure(
        name="device-memory",
        label="device memory, batch {batch}",
        unit="MiB",
        section="device",
        format=".1f",
        text="{value} MiB",
    ),
)

MEASURES: Mapping[str, Measure] = MappingProxyType({measure.name: measure for measure in _TABLE})
"""By name, in the order of a report."""


def measure_of(name: str) -> Measure:
    """The row of a name.

    Raises:
        InputError: no measure has that name.
    """
    if name not in MEASURES:
        raise InputError(f"unknown measurement {name!r}", expected=f"one of {', '.join(MEASURES)}")
    return MEASURES[name]
