"""Ours beside the paper's: means over seeds, spreads, and differences in the paper's standard deviations.

    difference = mean - paper,    in deviations = difference / the paper's standard deviation

The spread is the sample standard deviation over seeds, as the paper's error bars are. A network that the paper does not
have (the INT8 engine of a pruned one, say) has no paper's value. What adversarial fine-tuning saves is told too:

    times cheaper = processor seconds of f_rb's training / those of the fine-tuning, mean over seeds
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .measure_cell import Measure
from .measure_costs import COSTS
from .study_file import Study, Value
from .study_stages import CellRun

__all__ = ["columns", "compare"]

_DIGITS = 2
_MIB_BITS = 8 * 2**20

_FIGURES = ("mean", "spread", "paper", "paper_deviation", "difference", "in_deviations")


def columns(measures: Sequence[Measure]) -> list[str]:
    """Names of a row's values, in order."""
    head = ["network", "model", "compression", "level", "line", "training", "finetuning", "subject", "seeds"]
    values = [f"{metric}_{figure}" for metric in ("test", "robustness") for figure in _FIGURES]
    others = [f"{measure.name}_{figure}" for measure in measures[1:] for figure in ("mean", "spread")]
    costs = ["finetune_cpu_seconds", "train_cpu_seconds", "times_cheaper", "parameters", "MACs"]
    return [*head, *values, *others, *costs, "size_mean", "size_paper", "size_share", "file_mean", *COSTS]


def compare(
    study: Study,
    runs: Sequence[CellRun],
    measures: Sequence[Measure],
    *,
    with_paper: bool,
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """One row for each network that was measured, in the order of the study; values by the names of `columns`.

    Args:
        study: the study.
        runs: every cell and seed that was asked for.
        measures: what was measured; the first one is the paper's.
        with_paper: the data are the paper's.
        costs: of `measure_costs`.

    Returns:
        Rows; accuracies in per cent, rounded to hundredths; `size` and `file` in MiB, the first as the papers count it
        (`counted_size.py`) and `size_share` in shares of the dense network's; None where there is no value.
    """
    robust = [run for run in runs if run.cell.training == "adversary"]
    trained = {(run.cell.network, run.seed): run.made["dense"]["cpu_seconds"] for run in robust}
    rows = []
    for cell in dict.fromkeys(run.cell for run in runs):
        compression = study.compressions[cell.compression]
        of_cell = [run for run in runs if run.cell == cell]
        tuned = cell.finetuning != "none"
        spent = {run.seed: sum(run.made["cpu_seconds"].values()) for run in of_cell}
        saved = [trained[key] / spent[key[1]] for key in trained if key[0] == cell.network and spent.get(key[1])]
        for number, subject in enumerate(compression.measured):
            found = [{measure.name: run.measured[subject, measure.name] for measure in measures} for run in of_cell]
            paper = cell if with_paper and number == 0 else None
            row: dict[str, Any] = {
                "network": None if cell.network is None else study.networks[cell.network].label,
                "model": study.label(cell),
                "compression": compression.label,
                "level": compression.level,
                "line": cell.line,
                "training": cell.training,
                "finetuning": cell.finetuning,
                "subject": subject,
                "seeds": len(of_cell),
            }
            first, same = measures[0].name, study.paper_data is None
            for metric, figure in (("test", "clean"), ("robustness", "robust")):
                theirs: Value | None = None if paper is None else getattr(paper, metric)
                row |= _figures(metric, _values(found, first, figure), theirs, same_data=same)
            for measure in measures[1:]:
                values = _values(found, measure.name, "robust")
                row |= {f"{measure.name}_mean": _mean(values), f"{measure.name}_spread": _spread(values)}
            bits = [(run.made["size_bits"][subject], run.made["dense_size_bits"]) for run in of_cell]
            row |= {
                "finetune_cpu_seconds": _mean(list(spent.values())) if tuned else None,
                "train_cpu_seconds": _mean([run.made["dense"]["cpu_seconds"] for run in of_cell]),
                "times_cheaper": _mean(saved) if saved and cell.finetuning == "adversary" else None,
                "parameters": of_cell[0].made["parameters"],
                "MACs": of_cell[0].made["MACs"],
                "size_mean": statistics.mean(own for own, _ in bits) / _MIB_BITS,
                "size_paper": None if paper is None else paper.size,
                "size_share": statistics.mean(own / dense for own, dense in bits),
                "file_mean": statistics.mean(rows[first]["KiB"] for rows in found) / 1024,
            }
            found_costs = (costs or {}).get(cell.key, {}) if subject == "engine" else {}
            rows.append(row | {cost: found_costs.get(cost) for cost in COSTS})
    return rows


def _values(found: Sequence[Mapping[str, Any]], attack: str, figure: str) -> list[float]:
    return [rows[attack][figure]["value"] for rows in found]


def _figures(metric: str, values: Sequence[float], paper: Value | None, *, same_data: bool) -> dict[str, float | None]:
    """`metric`'s part of a row."""
    mean, spread = statistics.mean(values), _spread(values)
    theirs, deviation = (paper or (None, None)) if paper is None or len(paper) == 2 else (paper[0], None)
    difference = None if theirs is None or not same_data else mean - theirs
    in_deviations = None if difference is None or not deviation else round(difference / deviation, _DIGITS)
    figures = {
        "mean": round(mean, _DIGITS),
        "spread": spread,
        "paper": theirs,
        "paper_deviation": deviation,
        "difference": None if difference is None else round(difference, _DIGITS),
        "in_deviations": in_deviations,
    }
    return {f"{metric}_{name}": figures[name] for name in _FIGURES}


def _mean(values: Sequence[float]) -> float:
    return round(statistics.mean(values), _DIGITS)


def _spread(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), _DIGITS) if len(values) > 1 else None
