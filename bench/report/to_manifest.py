"""A bench run's numbers in the manifest of the bundle that they were measured on.

Rule: the rows that an earlier run stored go, all of them, those of the build stay. So the manifest never shows the best
of several runs, and an alarm cannot be separated from the figure that it was raised for.
"""

from __future__ import annotations

from pathlib import Path

from ...export.bundle_writer import update_measurements
from ...runtime.bundle.reader import Bundle
from ...runtime.engine import is_onnx_file
from ...runtime.errors import InputError, IntegrityError
from .report import BenchReport

__all__ = ["check_stores", "store_measurements"]


def check_stores(path: Path) -> None:
    """Refuse a target that has no manifest to store measurements in.

    Raises:
        InputError: `path` is an ONNX file.
    """
    if is_onnx_file(path):
        what = f"{path}: --store needs a bundle; this is an ONNX file"
        raise InputError(what, fix="leave --store out; --json stores the report")


def store_measurements(report: BenchReport, bundle: Bundle) -> Bundle:
    """Write what was measured of a bundle's engines into its manifest, each row with when and where ("bench").

    Returns:
        The bundle with another manifest, and so another digest.

    Raises:
        BundleError: another manifest lies there now, or none can be written.
        IntegrityError: the bundle holds another graph than the one that was measured.
    """
    shipped = [subject for subject in report.subjects if subject.network == "shipped"]
    if (digest := bundle.graph().digest) != shipped[0].graph_sha256:
        what = f"{bundle.path}: not the graph that was measured, nothing was stored"
        raise IntegrityError(what, expected=f"SHA-256 {shipped[0].graph_sha256}", got=digest, fix="run bench again")
    about = {
        "created": report.created,
        "dataset": report.dataset,
        "cpu": report.environment.cpu,
        "instruction_set": report.environment.instruction_set,
        "versions": dict(report.environment.versions),
    }
    kept = [row for row in bundle.manifest.measurements if "bench" not in row]
    new = [
        {**measurement.to_dict(), "bench": {**about, "backend": subject.backend}}
        for subject in shipped
        for measurement in subject.measurements
    ]
    return update_measurements(bundle, [*kept, *new])
