"""Writes down the names that TensorRT's Python bindings have: what the fake of the tests may have, and no more.

    python record_api.py tensorrt api-8.5.3.1.json            where the package can be imported
    python record_api.py tensorrt_bindings api-11.4.0.106.json

A GPU is not needed: classes, enumerations and signatures are there once the module is imported. Bindings from version
10 on are a wheel of 1 MB by themselves (tensorrt-cu12-bindings); they import where libnvinfer, libnvinfer_plugin and
libnvonnxparser can be found by the loader, be they the real libraries or empty ones with the ten entry points that
`nm -D --undefined-only tensorrt.so` lists.

Recorded: 8.5.3.1 (wheel `tensorrt`, CPython 3.10, its own libraries), 10.16.1.11 and 11.4.0.106 (wheels
`tensorrt-cu12-bindings`, CPython 3.11, empty libraries).
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

CLASSES = (
    *("Builder", "BuilderFlag", "DataType", "Dims", "EngineInspector", "HardwareCompatibilityLevel", "IBuilderConfig"),
    *("ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger", "INetworkDefinition", "IOptimizationProfile"),
    *("ITimingCache", "LayerInformationFormat", "Logger", "MemoryPoolType", "NetworkDefinitionCreationFlag"),
    *("OnnxParser", "ParserError", "PreviewFeature", "ProfilingVerbosity", "Runtime", "TacticSource", "TensorIOMode"),
)


def signature(member: object) -> str:
    """A function's own first line, "" for anything else."""
    lines = (getattr(member, "__doc__", None) or "").splitlines()
    return lines[0] if callable(member) and lines else ""


def main() -> None:
    module = importlib.import_module(sys.argv[1])
    found: dict[str, object] = {"version": module.__version__}
    for name in CLASSES:
        kind = getattr(module, name, None)
        if kind is None:
            continue
        members = getattr(kind, "__members__", None)
        if members is not None:
            found[name] = {label: int(value) for label, value in sorted(members.items())}
        else:
            names = [label for label in dir(kind) if not label.startswith("_")]
            found[name] = {label: signature(getattr(kind, label)) for label in names}
    Path(sys.argv[2]).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
