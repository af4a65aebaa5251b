"""On which engines and processors a bundle was proved: `proofs.engines` of its manifest.

    {"engine": "onnxruntime", "version": "1.32.0", "instruction_set": "x86-64-vnni", "cpu": "AMD EPYC 9654"}, ...

Rule: a build lists ONNX Runtime, on which it has passed its gates. An engine may be listed on which the bundle's proof
images have the stored logits, bit for bit. A manifest without the list was proved on ONNX Runtime,
on the processor of its provenance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..files.json_fields import items, json_object, text
from .manifest import Manifest

__all__ = ["ProvedOn", "proved_on"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvedOn:
    """One engine on one processor.

    Attributes:
        engine: a backend's name.
        version: of its package.
        instruction_set, cpu: as `cpu.py` tells them.
    """

    engine: str
    version: str
    instruction_set: str
    cpu: str

    def __str__(self) -> str:
        return f"{self.engine} {self.version} on {self.instruction_set} ({self.cpu})"

    @property
    def architecture(self) -> str:
        """The instruction set's: "x86" or "aarch64"."""
        return self.instruction_set.partition("-")[0]

    def to_json(self) -> dict[str, str]:
        """As `proofs.engines` lists it."""
        return asdict(self)


def proved_on(manifest: Manifest) -> tuple[ProvedOn, ...]:
    """What the manifest says.

    Raises:
        BundleFormatError: `proofs.engines` is no such list.
    """
    if "engines" not in manifest.proofs:
        provenance = manifest.provenance
        return (
            ProvedOn(
                engine="onnxruntime",
                version=provenance.versions.get("onnxruntime", "of an unstated version"),
                instruction_set=provenance.instruction_set,
                cpu=provenance.cpu,
            ),
        )
    found = []
    for index, value in enumerate(items(manifest.proofs["engines"], "proofs.engines")):
        where = f"proofs.engines[{index}]"
        row = json_object(value, where)
        fields = ("engine", "version", "instruction_set", "cpu")
        found.append(ProvedOn(**{key: text(row.get(key), f"{where}.{key}") for key in fields}))
    return tuple(found)
