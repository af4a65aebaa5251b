"""What every step of the GPU checks is given, and how it reaches the Python that has TensorRT."""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Context", "NotRunError"]


class NotRunError(Exception):
    """A step cannot run here, and that is no failure."""


@dataclass(kw_only=True)
class Context:
    """What every step is given.

    Attributes:
        out: the folder of all results.
        device: where torch works, "cuda" or "cpu".
        data, root: the data set's name or file, and the folder to look in first.
        sizes: see `FULL` in check.py.
        python: the command that runs a Python with TensorRT.
        done: results of earlier steps, by name.
    """

    out: Path
    device: str
    data: str
    root: Path | None
    sizes: Mapping[str, Any]
    python: list[str]
    done: dict[str, Any] = field(default_factory=dict)

    def on_tensorrt(self, task: str, **request: Any) -> Any:
        """Run a task of `on_tensorrt.py`.

        Raises:
            NotRunError: it lacks a GPU or a package.
            RuntimeError: it failed.
        """
        folder = self.out / "requests"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{task}-{len(list(folder.glob('*.request.json')))}"
        ask, answer = folder / f"{name}.request.json", folder / f"{name}.answer.json"
        ask.write_text(json.dumps(request, default=str), encoding="utf-8")
        script = Path(__file__).with_name("on_tensorrt.py")
        done = subprocess.run(
            [*self.python, str(script), task, str(ask.resolve()), str(answer.resolve())],
            capture_output=True,
            text=True,
            check=False,
        )
        if not answer.is_file():  # it crashed
            raise RuntimeError(f"{task}: exit status {done.returncode}: {done.stderr.strip()[-2000:]}")
        found = json.loads(answer.read_text(encoding="utf-8"))
        if "not_run" in found:
            raise NotRunError(found["not_run"])
        if "error" in found:
            raise RuntimeError(f"{task}: {found['error']}\n{found.get('traceback', '')}")
        return found["result"]

    def result(self, step: str) -> Any:
        """What an earlier step found.

        Raises:
            NotRunError: nothing.
        """
        if self.done.get(step, {}).get("status") != "done":
            raise NotRunError(f"needs the step {step!r}")
        return self.done[step]["result"]

    def each(self, work: Callable[[str], Any], names: list[str]) -> dict[str, Any]:
        """`work` of each name; one that fails is told and the others go on.

        Raises:
            NotRunError: none of them could run.
        """
        found: dict[str, Any] = {}
        reasons = []
        for name in names:
            started = time.perf_counter()
            try:
                found[name] = work(name)
            except NotRunError as error:
                reasons.append(str(error))
                found[name] = {"not_run": str(error)}
            except Exception as error:
                found[name] = {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            print(f"  {name}: {time.perf_counter() - started:.1f} s", flush=True)
        if len(reasons) == len(names):
            raise NotRunError(reasons[0] if reasons else "nothing to do")
        return found
