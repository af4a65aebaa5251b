"""Tables for people. Nothing is computed here.

A bundle's layers, proofs and measurements are free JSON of whoever wrote it: numbers are checked where they are added
up or set, text is made printable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ...bench.measurement import Measurement
from ...bench.report.text import row_of
from ...runtime.bundle.manifest import MANIFEST_NAME, Manifest
from ...runtime.bundle.proved_on import proved_on
from ...runtime.errors import BundleFormatError, InputError
from ...runtime.files.json_fields import integer, items, json_object, number, under
from ...runtime.printable import printable
from ..bundles.verification import Verification
from ..pipeline.pipeline import Build
from ..train.finetune import Trained
from .widths_table import widths_table

__all__ = ["build_report", "bundle_report", "verification_report"]

_COUNTS = ("channels", "parameters", "macs")
_SIZES = tuple(f"{count}_{when}" for count in _COUNTS for when in ("before", "after"))


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
    proofs = [*_between(manifest), _proofs(manifest.proofs), _summary(manifest, str(build.bundle.path))]
    return [_layers(manifest.layers), training, *proofs]


def _stages(build: Build) -> list[tuple[str, Trained]]:
    stages = build.stages
    teacher = [] if stages.teacher is None else [("teacher, dense", stages.teacher)]
    return [("dense, standard", stages.dense), *teacher, ("hardened", stages.tuned), ("integer twin", stages.twin)]


def bundle_report(manifest: Manifest) -> list[Table]:
    """A bundle's layers, kernels, files and numbers; what a bundle of another writer lacks is left out.

    Raises:
        BundleFormatError: a value of another type than its table shows.
    """
    with under(f"{MANIFEST_NAME}: "):
        tables = [_layers(manifest.layers), _proofs(manifest.proofs), _summary(manifest, manifest.name)]
        kernels = _proof(manifest.proofs, "kernels")
        if "integer_share" in kernels:
            tables.insert(1, _kernels(kernels))
        tables[1:1] = _between(manifest)
    return tables


def _between(manifest: Manifest) -> list[Table]:
    return [*widths_table(manifest.quantization), *_left_alone(manifest.proofs), *_in_float(manifest.proofs)]


def _proof(proofs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One of the proofs; empty where there is none."""
    return json_object(proofs.get(name, {}), f"proofs.{name}")


def _rows(proof: Mapping[str, Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of the list at `where`, whose last part is the key, each with its own path."""
    for index, row in enumerate(items(proof.get(where.rpartition(".")[2]), where)):
        yield json_object(row, f"{where}[{index}]"), f"{where}[{index}]"


def _shown(value: Mapping[str, Any], key: str) -> str:
    return printable(str(value.get(key, "")))


def _kernels(proof: Mapping[str, Any]) -> Table:
    table = Table(title=f"Kernels ({_shown(proof, 'backend')})")
    for column in ("kernel", "operator", "MACs", "integer"):
        table.add_column(column, justify="right" if column == "MACs" else "left")
    for kernel, where in _rows(proof, "proofs.kernels.kernels"):
        macs = integer(kernel.get("macs"), f"{where}.macs")
        integral = "yes" if kernel.get("integer") else _shown(kernel, "reason")
        table.add_row(_shown(kernel, "name"), _shown(kernel, "operator"), f"{macs:,}", integral)
    return table


def _left_alone(proofs: Mapping[str, Any]) -> list[Table]:
    """Nodes that no rewrite of the float graph could change; no table where there are none."""
    table = Table(title="Left as they are")
    for column in ("operator", "result", "step", "reason"):
        table.add_column(column)
    lowering = _proof(proofs, "lowering")
    if "skipped" in lowering:
        for node, _ in _rows(lowering, "proofs.lowering.skipped"):
            table.add_row(*(_shown(node, key) for key in ("operator", "result", "step", "reason")))
    return [table] if table.row_count else []


def _in_float(proofs: Mapping[str, Any]) -> list[Table]:
    """What stays float between integers, like operators together; no table where there is nothing."""
    lowering = _proof(proofs, "lowering")
    rows = _rows(lowering, "proofs.lowering.float") if "float" in lowering else []
    counts = Counter((_shown(found, "operator"), _shown(found, "reason")) for found, _ in rows)
    table = Table(title="Float between integers")
    for column in ("operator", "times", "reason"):
        table.add_column(column, justify="right" if column == "times" else "left")
    for (operator, reason), times in counts.items():
        table.add_row(operator, str(times), reason)
    return [table] if counts else []


def verification_report(result: Verification) -> list[Table]:
    """One row a check."""
    table = Table(title=f"{result.bundle.path}")
    for column in ("check", "result"):
        table.add_column(column)
    parity = result.parity
    table.add_row(
        "files whose SHA-256 fits", f"{len(result.bundle.manifest.files)} of {len(result.bundle.manifest.files)}"
    )
    table.add_row("engine", result.kernels.backend)
    table.add_row("MACs in integer kernels", f"{result.kernels.integer_share:.1%} of {result.kernels.macs:,}")
    table.add_row("float kernels before the logits", str(len(result.kernels.float_kernels)))
    stored = _differing(result.proof_logits, result.proof_wrong)
    table.add_row(f"stored logits that differ ({result.proof_images} images)", stored)
    engine = _differing(parity.engine_logits, parity.engine_images)
    table.add_row(f"logits twin / engine that differ ({parity.images} images)", engine)
    if parity.activations:
        table.add_row("logits twin / unoptimized graph that differ", str(parity.unoptimized_logits))
        table.add_row("activations that differ", _mismatches(parity.activations))
    return [table]


def _differing(logits: int, images: int) -> str:
    return f"{logits:,}, in {images} images" if logits else "0"


def _mismatches(activations: Iterable[Any]) -> str:
    rows = list(activations)
    wrong = sum(a.mismatches for a in rows)
    return f"{wrong:,} of {sum(a.elements for a in rows):,} in {len(rows)} tensors"


def _layers(layers: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(title="Layers, before -> after")
    for column in ("layer", "kind", "channels", "parameters", "MACs", "left alone because"):
        table.add_column(column, justify="right" if column in ("channels", "parameters", "MACs") else "left")
    total = dict.fromkeys(_SIZES, 0)
    for index, layer in enumerate(layers):
        sizes = {key: integer(layer[key], f"layers[{index}].{key}") for key in _SIZES if layer.get(key) is not None}
        for key, size in sizes.items():
            total[key] += size
        if layer.get("kind") == "norm":
            continue
        table.add_row(
            *(_shown(layer, key) for key in ("name", "kind")),
            *(_change(sizes, count) for count in _COUNTS),
            _shown(layer, "reason"),
        )
    table.add_section()
    table.add_row("whole network", "", "", *(_change(total, count) for count in ("parameters", "macs")), "")
    return table


def _proofs(proofs: Mapping[str, Any]) -> Table:
    table = Table(title="Proofs", show_header=False)
    kernels, parity = _proof(proofs, "kernels"), _proof(proofs, "parity")
    dropped = items(_proof(proofs, "lowering").get("dropped", []), "proofs.lowering.dropped")
    if dropped:
        table.add_row("dropped behind the logits", printable(", ".join(map(str, dropped))))
    if "integer_share" in kernels:
        share = number(kernels["integer_share"], "proofs.kernels.integer_share")
        table.add_row(
            "MACs in integer kernels", f"{share:.1%} of {integer(kernels.get('macs'), 'proofs.kernels.macs'):,}"
        )
    if "activations" in parity:
        rows = _rows(parity, "proofs.parity.activations")
        wrong = [integer(row.get("mismatches"), f"{where}.mismatches") for row, where in rows]
        images, engine, bare = (
            integer(parity.get(key), f"proofs.parity.{key}")
            for key in ("images", "engine_logits", "unoptimized_logits")
        )
        table.add_row("images compared", f"{images:,}")
        table.add_row("logits twin / engine that differ", str(engine))
        table.add_row("logits twin / unoptimized graph that differ", str(bare))
        table.add_row("activations that differ", f"{sum(wrong):,} in {len(wrong)} tensors")
    return table


def _summary(manifest: Manifest, title: str) -> Table:
    table = Table(title=title, show_header=False)
    for index, row in enumerate(manifest.measurements):
        if "bench" in row:
            table.add_row(*(Text(printable(text)) for text in _benched(row, f"measurements[{index}]")))
            continue
        value = f"{row['value']:.2%}" if row["unit"] == "share" else f"{row['value']:g} {row['unit']}"
        table.add_row(row["name"], value + (f" (n = {_shown(row, 'n')})" if "n" in row else ""))
    for entry in manifest.files:
        table.add_row(entry.path, f"{entry.bytes / 1024:,.1f} KiB")
    table.add_row("input", f"uint8 [N, {', '.join(map(str, manifest.input.shape))}]")
    table.add_row("classes", ", ".join(manifest.output.classes))
    table.add_row("scales", _shown(manifest.quantization, "scales"))
    training = _proof(manifest.proofs, "training")
    for key in ("network", "data"):
        if key in training:
            table.add_row(key, _shown(training, key))
    for note in items(training.get("data_notes", []), "proofs.training.data_notes"):
        table.add_row("", printable(str(note)))
    for place in proved_on(manifest):
        table.add_row("proved on", printable(str(place)))
    return table


def _benched(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Label and text of a number that `toolchain bench --store` wrote."""
    try:
        label, shown = row_of(Measurement.from_dict({key: value for key, value in row.items() if key != "bench"}))
        backend = row["bench"].get("backend", "onnxruntime")
        return label if backend == "onnxruntime" else f"{label}, {backend}", shown
    except (LookupError, TypeError, ValueError, AttributeError, InputError) as error:
        got = f"{type(error).__name__}: {error}"
        raise BundleFormatError(where, expected="what toolchain bench --store writes", got=got) from error


def _change(sizes: Mapping[str, int], count: str) -> str:
    before, after = sizes.get(f"{count}_before"), sizes.get(f"{count}_after")
    if before is None or after is None:
        return ""
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
