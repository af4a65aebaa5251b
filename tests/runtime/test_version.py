"""One version: the package's, the distribution's, the command's."""

from __future__ import annotations

import re
from importlib import metadata

import hardtemper
from hardtemper.runtime.version import __version__


def test_the_version_is_the_installed_distributions() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert hardtemper.__version__ == __version__ == metadata.version("hardtemper")
