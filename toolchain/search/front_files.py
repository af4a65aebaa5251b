"""What a search leaves in its folder: `front.json`, `front.md`, `front.svg`, and `point-NN.toml` for each point."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from ...bench.measurement import Environment
from ...runtime.errors import InputError
from ...runtime.files.atomic import write_whole
from ..recipe.recipe_toml import recipe_toml
from .budget import BUDGETS
from .run_search import SearchResult

__all__ = ["front_rows", "sensitivity_rows", "write_front"]

Row = Sequence[str]


def write_front(result: SearchResult, out: Path) -> None:
    """Write the files; those of an earlier front are replaced.

    Raises:
        InputError: one cannot be written.
    """
    recipes = {f"point-{place:02d}.toml": result.recipe(place - 1) for place in range(1, len(result.front) + 1)}
    files = {name: recipe_toml(recipe).encode() for name, recipe in recipes.items()}
    files["front.json"] = (json.dumps(_json(result), indent=2) + "\n").encode()
    files["front.md"] = _markdown(result).encode()
    files["front.svg"] = _picture(result)
    try:
        for name, content in files.items():
            write_whole(out / name, content)
    except OSError as error:
        raise InputError(f"{out}: cannot be written", got=error.strerror or str(error)) from None
    for path in set(out.glob("point-*.toml")) - {out / name for name in files}:
        with suppress(OSError):
            path.unlink()


def front_rows(result: SearchResult) -> list[Row]:
    """The front as a table, its header first."""
    budget = result.space.budget
    rows: list[Row] = [("point", "trial", budget.key, "clean %", "robust %", "recipe")]
    for place, point in enumerate(result.front, start=1):
        shares = (_percent(point.clean), _percent(point.robust))
        rows.append((str(place), str(point.number), budget.shown(point.quantity), *shares, f"point-{place:02d}.toml"))
    return rows


def sensitivity_rows(result: SearchResult) -> list[Row]:
    """The layers' sensitivity as a table, its header first."""
    rows: list[Row] = [("layer", "method", "kept %", "clean %", "robust %")]
    for row in result.sensitivity:
        shares = (f"{100 * row.kept:.0f}", _percent(row.clean), _percent(row.robust))
        rows.append((row.layer or "none: the dense network", row.method, *shares))
    return rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _json(result: SearchResult) -> dict[str, Any]:
    space = result.space
    return {
        "budget": {"key": space.budget.key, "limit": space.budget.limit, "what": BUDGETS[space.budget.key]},
        "environment": Environment.here().to_dict(),
        "recipe": space.recipe.model_dump(mode="json"),
        "heldout_images": space.recipe.data.heldout,
        "front": [
            {"recipe": f"point-{place:02d}.toml", **asdict(point)} for place, point in enumerate(result.front, start=1)
        ],
        "trials": [asdict(outcome) for outcome in result.outcomes],
        "sensitivity": [row.to_json() for row in result.sensitivity],
    }


def _markdown(result: SearchResult) -> str:
    budget, heldout = result.space.budget, result.space.recipe.data.heldout
    lines = [
        f"# {result.space.recipe.name} under {budget}",
        f"`{budget.key}`: {BUDGETS[budget.key]}. Accuracies of the integer twin on {heldout} held-out training images,",
        f"robust under PGD-10, after the trial's fine-tuning. {len(result.outcomes)} trials.",
        "",
        *_table(front_rows(result)),
        "",
        "![front](front.svg)",
        "",
        "## Layer sensitivity",
        "One layer compressed, without fine-tuning; float network, at most 512 held-out images.",
        "",
        *_table(sensitivity_rows(result)),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    header, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [header, f"|{' --- |' * len(rows[0])}", *body]


def _picture(result: SearchResult) -> bytes:
    """All candidates, and the front as steps: what the best accuracy at each cost is."""
    budget = result.space.budget
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    met = [outcome for outcome in result.outcomes if not outcome.reason]
    axes.scatter([o.quantity for o in met], [100 * o.accuracy for o in met], color="0.7", label="trials")
    costs, accuracies = zip(*((point.quantity, 100 * point.accuracy) for point in result.front), strict=True)
    axes.step(costs, accuracies, where="post", marker="o", label="front")
    axes.axvline(budget.limit, color="0.3", linestyle=":", label="budget")
    axes.set_xlabel(budget.key)
    axes.set_ylabel(f"held-out {'robust ' if result.space.recipe.robust else ''}accuracy, %")
    axes.legend(loc="lower right")
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "front"}):  # the same front gives the same file
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
