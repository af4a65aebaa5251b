"""torchvision, also where its compiled operators do not load. No other file imports it.

A torchvision wheel holds C++ operators (`torchvision::nms`, `torchvision::qnms`, ...), linked against one build of
torch. Beside another build (PyPI's torchvision and a CPU-only torch, say) the library is not loaded, silently, and
the import then ends at the first `torch.library.register_fake("torchvision::nms")` with `RuntimeError: operator
torchvision::nms does not exist`. Classifiers and data sets need none of those operators. So: declare the operator that
the error names, forget the half-imported modules, import again. A declared operator has a schema and no kernel: who
calls it gets PyTorch's own error. On a healthy install the first import succeeds and nothing is declared.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Mapping
from types import ModuleType

from ...runtime.errors import InputError, MissingExtraError, first_line

__all__ = ["torchvision"]

# torchvision/_meta_registrations.py gives these a fake at import; torchvision/csrc/ops/*.cpp define them so
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")


@functools.cache
def torchvision() -> ModuleType:
    """The torchvision package, imported once.

    Raises:
        MissingExtraError: torchvision or torch is not installed.
        InputError: the import fails for a reason other than the operators named above.
    """
    return _import(_SCHEMAS)


def _import(declarable: Mapping[str, str]) -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name not in ("torchvision", "torch"):
            raise
        raise MissingExtraError(error.name, extra="build", feature="torchvision's models and data sets") from None
    except RuntimeError as error:
        found = _MISSING.search(str(error))
        if found is None or found.group(1) not in declarable:
            raise InputError(
                "torchvision is installed but cannot be imported",
                got=first_line(error),
                fix="install the torchvision that was released with your torch: pip install -U torch torchvision",
            ) from error
        missing = found.group(1)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch

    torch.library.define(f"torchvision::{missing}", declarable[missing])
    return _import({name: schema for name, schema in declarable.items() if name != missing})
