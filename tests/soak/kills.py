"""SIGKILL at random moments of a tiny build and a tiny bench run, which are then started again until they are done.

A moment is either a time, drawn evenly over the length of an undisturbed run, or the n-th time that the run makes,
opens for writing, renames or removes something, where it kills itself: times alone would hardly ever hit a write. What
is there at the end is held against an undisturbed run; `_compare_*` say what that covers. At every kill the former
bundle must still be there: at its place or, between two renames, beside it as `.NAME.TOKEN.old`.

Each run is forked from this process after its imports, and finds networks lowered that an undisturbed run has lowered
(by their weights; lowering takes nine tenths of a tiny build and writes nothing). So a kill costs about a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from hardtemper.bench import run as bench_run
from hardtemper.bench.measurement import Skip
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import HardtemperError
from hardtemper.toolchain import api
from hardtemper.toolchain.pipeline import pipeline

__all__ = ["Kills", "kill_bench", "kill_builds"]

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
"""A bundle and images of 8 x 8 pixels."""

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "robust": True,
    "data": {"heldout": 16, "calibration": 16},
    "model": {"name": "cnn8", "width": 4, "hidden": 8},
    "train": {"epochs": 2, "batch_size": 16},
    "compress": [{"method": "filters", "sparsity": 0.5}],
    "adversary": {"threat": "linf:0.1", "steps": 1},
    "finetune": {"epochs": 2, "batch_size": 16},
    "finetune_twin": {"epochs": 1, "batch_size": 16},
}

_ATTACKS = "fgsm,r-fgsm,bim,pgd-20"
_EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")


@dataclass(kw_only=True, slots=True)
class Kills:
    """What was found.

    Attributes:
        rounds: runs that were finished after their kills.
        kills: SIGKILLs that ended a run.
        lost: how often the former bundle, or the one that is measured, could not be opened after a kill.
        different: how often the finished result differs from that of an undisturbed run.
        notes: what of it.
    """

    rounds: int = 0
    kills: int = 0
    lost: int = 0
    different: int = 0
    notes: list[str] = field(default_factory=list)


def _fork(work: Callable[[], object], *, dies_at: int | None = None, counted: Path | None = None) -> int:
    """A child that does `work` and ends; it kills itself at write `dies_at`; `counted` gets the number of writes."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        events = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal events
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or event in _EVENTS:
                events += 1
                if events == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        torch.set_num_threads(1)
        work()
        if counted is not None:
            counted.write_text(str(events), encoding="ascii")
        status = 0
    except HardtemperError as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _undisturbed(work: Callable[[], object], folder: Path) -> tuple[float, int]:
    """Seconds, and number of writes, of a run that nothing stops."""
    start, counted = time.monotonic(), folder / "writes"
    child = _fork(work, counted=counted)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the undisturbed run failed"
    return time.monotonic() - start, int(counted.read_text(encoding="ascii"))


def _killed(random: Random, work: Callable[[], object], *, seconds: float, writes: int) -> bool:
    """Run once, with a kill on the way; whether it came before the end."""
    if random.random() < 0.5:
        child = _fork(work, dies_at=random.randint(1, writes))
    else:
        child, end = _fork(work), time.monotonic() + random.uniform(0, seconds)
        while time.monotonic() < end:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)  # a child that ended is still there until it is waited for
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (0, -signal.SIGKILL), f"a run ended with {ended}"
    return ended != 0


def _remember_lowered() -> None:
    """Lower each network once; children know what this process has lowered before they were forked."""
    known: dict[str, Any] = {}
    lower = pipeline.lower

    def remembering(module: torch.nn.Module, *, input_shape: tuple[int, int, int]) -> Any:
        digest = hashlib.sha256(f"{module} {input_shape}".encode())
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        key = digest.hexdigest()
        if key not in known:
            known[key] = lower(module, input_shape=input_shape)
        return known[key]

    pipeline.lower = remembering


def _finish(work: Callable[[], object]) -> bool:
    _, status = os.waitpid(_fork(work), 0)
    return status == 0


def kill_builds(folder: Path, *, kills: int, seed: int, progress: Callable[[Kills], object] = lambda _: None) -> Kills:
    """Builds over a former bundle, each killed one to four times."""
    recipe = RECIPE | {"data": {**RECIPE["data"], "name": str(CORPUS / "data.npz")}}

    def build(out: Path) -> None:
        api.build(recipe, out=out, overwrite=True)

    former, right = CORPUS / "conv", folder / "right"
    _remember_lowered()
    build(right)
    assert _finish(lambda: build(folder / "again"))
    assert not _compare_bundles(folder / "again", right), "two undisturbed builds differ"
    seconds, writes = _undisturbed(lambda: build(folder / "again"), folder)
    found, random = Kills(), Random(f"builds {seed}")
    while found.kills < kills:
        place = folder / f"round-{found.rounds}"
        out = place / "out"
        shutil.copytree(former, out)
        for _ in range(random.randint(1, 4)):
            if not _killed(random, partial(build, out), seconds=seconds, writes=writes):
                break
            found.kills += 1
            _check_former(out, (former, right), found)
        if not _finish(partial(build, out)):
            found.different += 1
            found.notes.append(f"build, round {found.rounds}: refused after the kills")
        else:
            _note(found, "build", _compare_bundles(out, right))
        found.rounds += 1
        shutil.rmtree(place)
        progress(found)
    return found


def _check_former(out: Path, whole: tuple[Path, Path], found: Kills) -> None:
    """The former bundle or the new one is at its place, or the former beside it, byte for byte."""
    places = [out] if out.exists() else list(out.parent.glob(f".{out.name}.*.old"))
    for place in places:
        try:
            read_bundle(place)
        except HardtemperError:
            continue
        if any(not _compare_bundles(place, one) for one in whole):
            return
    found.lost += 1
    found.notes.append(f"build, round {found.rounds}: no whole bundle after a kill")


def _compare_bundles(one: Path, other: Path) -> str:
    """Names and bytes of all files; of the manifest all but when it was written and how long training took."""
    names = [sorted(path.relative_to(side).as_posix() for path in side.rglob("*")) for side in (one, other)]
    if names[0] != names[1]:
        return f"files {names[0]} and {names[1]}"
    for name in names[0]:
        if name == "manifest.json":
            manifests = [_timeless(json.loads((side / name).read_text(encoding="utf-8"))) for side in (one, other)]
            if manifests[0] != manifests[1]:
                return "manifest.json"
        elif (one / name).read_bytes() != (other / name).read_bytes():
            return name
    return ""


def _timeless(value: Any) -> Any:
    """JSON without the keys that tell a time."""
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in ("created", "seconds")}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _note(found: Kills, what: str, differs: str) -> None:
    if differs:
        found.different += 1
        found.notes.append(f"{what}, round {found.rounds}: {differs} differs")


def kill_bench(folder: Path, *, kills: int, seed: int, progress: Callable[[Kills], object] = lambda _: None) -> Kills:
    """Bench runs that store their figures in the bundle, each killed one to four times."""
    # a process of its own would be measured; it is no part of what is stored on the way
    bench_run.measure_peak_memory = lambda *_, batch, **__: Skip(what=f"peak memory, batch {batch}", reason="soak")
    bundle = CORPUS / "conv"

    def bench(place: Path) -> None:
        quick: dict[str, Any] = {"images": 6, "repeats": 1, "warmup": 0, "min_seconds": 0.0, "batches": (1,)}
        api.bench(
            place / "bundle",
            data=str(CORPUS / "data.npz"),
            attack=_ATTACKS,
            work=place / "work",
            store=True,
            json_path=place / "report.json",
            **quick,
        )

    right = folder / "right"
    shutil.copytree(bundle, right / "bundle")
    bench(right)
    shutil.copytree(bundle, folder / "again" / "bundle")
    seconds, writes = _undisturbed(lambda: bench(folder / "again"), folder)
    assert not _compare_benches(folder / "again", right), "two undisturbed runs of bench differ"
    found, random = Kills(), Random(f"bench {seed}")
    while found.kills < kills:
        place = folder / f"round-{found.rounds}"
        shutil.copytree(bundle, place / "bundle")
        for _ in range(random.randint(1, 4)):
            if not _killed(random, partial(bench, place), seconds=seconds, writes=writes):
                break
            found.kills += 1
            try:
                read_bundle(place / "bundle")
            except HardtemperError as error:
                found.lost += 1
                found.notes.append(f"bench, round {found.rounds}: {error}")
        if not _finish(partial(bench, place)):
            found.different += 1
            found.notes.append(f"bench, round {found.rounds}: refused after the kills")
        else:
            _note(found, "bench", _compare_benches(place, right))
        found.rounds += 1
        shutil.rmtree(place)
        progress(found)
    return found


def _compare_benches(one: Path, other: Path) -> str:
    """Every array and the header of every verdict; the report without what is timed; which files lie there."""
    verdicts = [sorted(path.name for path in (side / "work").iterdir()) for side in (one, other)]
    if verdicts[0] != verdicts[1]:
        return f"files {verdicts[0]} and {verdicts[1]}"
    for name in verdicts[0]:
        archives = [read_archive(side / "work" / name) for side in (one, other)]
        for key in ("images", "labels", "indices", "adversarial", "rows", "attacks", "on_engine", "on_twin"):
            if not np.array_equal(*(getattr(archive, key) for archive in archives)):
                return f"{name}: {key}"
        headers = [_placeless(archive.header, side) for archive, side in zip(archives, (one, other), strict=True)]
        if headers[0] != headers[1]:
            return f"{name}: header"
    reports = [_untimed(json.loads((side / "report.json").read_text(encoding="utf-8")), side) for side in (one, other)]
    return "" if reports[0] == reports[1] else "report.json"


def _untimed(report: Any, place: Path) -> Any:
    """Without latencies, times and the folder; memory is not measured."""
    for subject in report["subjects"]:
        rows = subject["measurements"]
        subject["measurements"] = [row for row in rows if row["name"] not in ("latency", "throughput", "speedup")]
    return _placeless(report, place)


def _placeless(value: Any, place: Path) -> Any:
    """JSON without times, and the same for every folder."""
    return json.loads(json.dumps(_timeless(dict(value))).replace(str(place), "PLACE"))
