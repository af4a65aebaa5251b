from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import onnxruntime

from hardtemper.runtime.backends.installed import installed_version


def test_versions() -> None:
    assert installed_version("onnxruntime") == onnxruntime.__version__
    assert installed_version("openvino") == metadata.version("openvino")
    assert installed_version("no-such-package") is None


def test_openvino_is_not_imported_to_tell() -> None:
    code = (
        "import sys; from hardtemper.runtime.backends.installed import installed_version as v; v('openvino'); "
        "print('openvino' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"
