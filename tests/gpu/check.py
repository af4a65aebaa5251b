"""Every check that needs a GPU, in one call; the results are JSON with the hardware and the versions.

    python tests/gpu/check.py --out out/gpu                        all steps
    python tests/gpu/check.py --out out/gpu --only speed           one step
    python tests/gpu/check.py --out out/gpu --tiny --device cpu    the script itself, on any machine

A step that is done is not run again (--redo does), one that fails does not stop the next, and one that lacks a GPU, a
package or an earlier step says so. TensorRT may live in another Python: --tensorrt-python "COMMAND".
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import importable  # noqa: F401 - before anything of the package
import steps
from context import Context, NotRunError

__all__ = ["main"]

FULL = {
    "models": ["cnn8", "resnet18", "mobilenet_v2", "vgg16"],
    "width": 48,
    "image_size": {"resnet18": 32, "mobilenet_v2": 32, "vgg16": 32},
    "batch_size": 128,
    "train_epochs": 10,
    "finetune_epochs": 3,
    "table3_epochs": 20,
    "adversary_steps": {"bundles": 7, "table3": 20},
    "heldout": 2000,
    "calibration": 512,
    "attacked": ["cnn8"],
    "images": 10000,
    "preset": "standard",
    "parity_images": 10000,
    "batches": [1, 16, 128, 1024],
    "repeats": 200,
    "min_seconds": 2.0,
    "compile_torch": True,
}
TINY = FULL | {
    "models": ["cnn8"],
    "width": 4,
    "batch_size": 24,
    "image_size": {},
    "train_epochs": 4,
    "finetune_epochs": 1,
    "table3_epochs": 1,
    "adversary_steps": {"bundles": 1, "table3": 1},
    "heldout": 8,
    "calibration": 8,
    "images": 24,
    "preset": "paper",
    "parity_images": 32,
    "batches": [1, 4],
    "repeats": 3,
    "min_seconds": 0.0,
    "compile_torch": False,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; 1 where one failed, 2 where there is no GPU to run them on."""
    options = _parse(arguments)
    if options.device is None and steps.default_device() == "cpu":
        print("no GPU that torch can use; nothing was run (--device cpu runs the steps all the same, for hours)")
        return 2
    sizes = dict(TINY if options.tiny else FULL)
    for name in ("models", "images", "table3_epochs", "train_epochs", "finetune_epochs", "batches"):
        if getattr(options, name) is not None:
            sizes[name] = getattr(options, name)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "check.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"steps": {}}
    context = Context(
        out=options.out.resolve(),
        device=options.device or steps.default_device(),
        data=options.data,
        root=options.root,
        sizes=sizes,
        python=shlex.split(options.tensorrt_python) if options.tensorrt_python else [sys.executable],
        done=stored["steps"],
    )
    for name, step in steps.STEPS.items():
        wanted = name in options.only if options.only else True
        if not wanted or (context.done.get(name, {}).get("status") == "done" and not options.redo):
            continue
        print(f"{name}", flush=True)
        context.done[name] = _run(step, context) | {"device": context.device, "sizes": sizes}
        print(f"  {context.done[name]['status']} {context.done[name].get('reason', '')}", flush=True)
        path.write_text(json.dumps({"steps": context.done}, indent=1, default=str) + "\n", encoding="utf-8")
    return 1 if any(step["status"] == "failed" for step in context.done.values()) else 0


def _run(step: Callable[[Context], Any], context: Context) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        found: dict[str, Any] = {"status": "done", "result": step(context)}
    except NotRunError as error:
        found = {"status": "not run", "reason": str(error)}
    except Exception as error:
        found = {"status": "failed", "reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    if found["status"] == "done" and _holds_failure(found["result"]):
        found |= {"status": "failed", "reason": "see the result"}
    return found | {"seconds": time.perf_counter() - started, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def _holds_failure(result: Any) -> bool:
    return isinstance(result, dict) and ("failed" in result or any(_holds_failure(value) for value in result.values()))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all results; check.json is in it")
    parser.add_argument("--only", nargs="+", choices=list(steps.STEPS), help="these steps")
    parser.add_argument("--redo", action="store_true", help="run steps again that are done")
    parser.add_argument("--tiny", action="store_true", help="every size small: checks the script")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="where torch works")
    parser.add_argument("--data", default="fashion-mnist", help="data set, as toolchain's --data")
    parser.add_argument("--root", type=Path, help="folder to look in first for the data set")
    parser.add_argument("--tensorrt-python", help="command that runs a Python with TensorRT")
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--images", type=int, help="test images to attack")
    for name in ("table3", "train", "finetune"):
        parser.add_argument(f"--{name}-epochs", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
