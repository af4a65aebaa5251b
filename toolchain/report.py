"""Tables for people. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ..bench.measurement import Measurement
from ..bench.report import row_of
from ..runtime.manifest import Manifest
from .build import Build
from .finetune import Trained
from .verify import Verification

__all__ = ["build_report", "bundle_report", "verification_report"]

_COUNTS = ("channels", "parameters", "macs")


def build_report(build: Build) -> list[Table]:
    """What a build made: layers, training, proofs, files."""
    manifest = build.bundle.manifest
    training = Table(title="Training (accuracies on held-out training images)")
    for column in ("stage", "epochs", "kept", "loss", "clean %", "robust %", "seconds"):
        training.add_column(column, justify="left" if column == "stage" else "right")
    for stage, trained in _stages(build):
        last = trained.epochs[trained.kept - 1] if trained.kept else None
        seconds = sum(epoch.seconds for epoch in trained.epochs)
        training.add_row(
            stage,
            str(len(trained.epochs)),
            str(trained.kept),
            "" if last is None else f"{last.loss:.3f}",
            _percent(last.clean if last else None),
            _percent(last.robust if last else None),
            f"{seconds:.0f}",
        )
    return [_layers(manifest.layers), training, _proofs(manifest.proofs), _summary(manifest, str(build.bundle.path))]


def _stages(build: Build) -> list[tuple[str, Trained]]:
    made = build.made
    teacher = [] if made.teacher is None else [("teacher, dense", made.teacher)]
    return [("dense, standard", made.dense), *teacher, ("hardened", made.tuned), ("integer twin", made.twin)]


def bundle_report(manifest: Manifest) -> list[Table]:
    """A bundle's layers, kernels, files and numbers; what a bundle of another writer lacks is left out."""
    tables = [_layers(manifest.layers), _proofs(manifest.proofs), _summary(manifest, manifest.name)]
    if "integer_share" in manifest.proofs.get("kernels", {}):
        tables.insert(1, _kernels(manifest.proofs["kernels"]))
    return tables


def _kernels(proof: Mapping[str, Any]) -> Table:
    table = Table(title=f"Kernels ({proof['backend']})")
    for column in ("kernel", "operator", "MACs", "integer"):
        table.add_column(column, justify="right" if column == "MACs" else "left")
    for kernel in proof["kernels"]:
        table.add_row(
            kernel["name"], kernel["operator"], f"{kernel['macs']:,}", "yes" if kernel["integer"] else kernel["reason"]
        )
    return table


def verification_report(result: Verification) -> list[Table]:
    """One row a check."""
    table = Table(title=f"{result.bundle.path}")
    for column in ("check", "result"):
        table.add_column(column)
    parity = result.parity
    table.add_row(
        "files whose SHA-256 fits", f"{len(result.bundle.manifest.files)} of {len(result.bundle.manifest.files)}"
    )
    table.add_row("MACs in integer kernels", f"{result.kernels.integer_share:.1%} of {result.kernels.macs:,}")
    table.add_row("float kernels before the logits", str(len(result.kernels.float_kernels)))
    table.add_row(f"stored logits that differ ({result.proof_images} images)", str(result.proof_logits))
    table.add_row(f"logits twin / engine that differ ({parity.images} images)", str(parity.engine_logits))
    table.add_row("logits twin / unoptimized graph that differ", str(parity.unoptimized_logits))
    table.add_row("activations that differ", _mismatches(parity.activations))
    return [table]


def _mismatches(activations: Iterable[Any]) -> str:
    rows = list(activations)
    wrong = sum(a.mismatches for a in rows)
    return f"{wrong:,} of {sum(a.elements for a in rows):,} in {len(rows)} tensors"


def _layers(layers: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(title="Layers, before -> after")
    for column in ("layer", "kind", "channels", "parameters", "MACs", "left alone because"):
        table.add_column(column, justify="right" if column in ("channels", "parameters", "MACs") else "left")
    total = [0, 0, 0, 0]
    for layer in layers:
        for index, key in enumerate(("parameters_before", "parameters_after", "macs_before", "macs_after")):
            total[index] += layer.get(key, 0)
        if layer.get("kind") == "norm":
            continue
        table.add_row(
            *(str(layer.get(key, "")) for key in ("name", "kind")),
            *(_change(*(layer.get(f"{key}_{when}") for when in ("before", "after"))) for key in _COUNTS),
            str(layer.get("reason", "")),
        )
    table.add_section()
    table.add_row("whole network", "", "", _change(total[0], total[1]), _change(total[2], total[3]), "")
    return table


def _proofs(proofs: Mapping[str, Any]) -> Table:
    table = Table(title="Proofs", show_header=False)
    kernels, parity = proofs.get("kernels", {}), proofs.get("parity", {})
    if "integer_share" in kernels:
        table.add_row("MACs in integer kernels", f"{kernels['integer_share']:.1%} of {kernels['macs']:,}")
    if "activations" in parity:
        wrong = sum(a["mismatches"] for a in parity["activations"])
        table.add_row("images compared", f"{parity['images']:,}")
        table.add_row("logits twin / engine that differ", str(parity["engine_logits"]))
        table.add_row("logits twin / unoptimized graph that differ", str(parity["unoptimized_logits"]))
        table.add_row("activations that differ", f"{wrong:,} in {len(parity['activations'])} tensors")
    return table


def _summary(manifest: Manifest, title: str) -> Table:
    table = Table(title=title, show_header=False)
    for row in manifest.measurements:
        if "bench" in row:
            fields = {key: value for key, value in row.items() if key != "bench"}
            table.add_row(*(Text(text) for text in row_of(Measurement.from_dict(fields))))
            continue
        value = f"{row['value']:.2%}" if row["unit"] == "share" else f"{row['value']:g} {row['unit']}"
        table.add_row(str(row["name"]), value + (f" (n = {row['n']})" if "n" in row else ""))
    for entry in manifest.files:
        table.add_row(entry.path, f"{entry.bytes / 1024:,.1f} KiB")
    table.add_row("input", f"uint8 [N, {', '.join(map(str, manifest.input.shape))}]")
    table.add_row("classes", ", ".join(manifest.output.classes))
    table.add_row("scales", str(manifest.quantization.get("scales", "")))
    table.add_row("proved on", f"{manifest.provenance.cpu} ({manifest.provenance.instruction_set})")
    return table


def _change(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return ""
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
