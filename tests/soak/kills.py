"""SIGKILL at random moments of a tiny build and a tiny bench run, which are then started again until they are done.

A moment is either a time, drawn evenly over the length of an undisturbed run, or the n-th time that the run makes,
opens for writing, renames or removes something, where it kills itself: times alone would hardly ever hit a write. What
is there at the end is held against an undisturbed run; `compare_bundles` and `_compare_benches` say what that covers.
At every kill the former bundle must still be there: at its place or, between two renames, beside it as
`.NAME.TOKEN.old`.

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
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from hardtemper.toolchain.pipeline import stages

__all__ = ["Kills", "Part", "bench_part", "build_part", "compare_bundles", "finish", "fork", "is_write", "kill"]

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


def is_write(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is about something that is made, written, renamed or removed."""
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return event in _EVENTS


def fork(work: Callable[[], object], *, dies_at: int | None = None, counted: Path | None = None) -> int:
    """A child that does `work` and ends; it kills itself at write `dies_at`; `counted` gets the number of writes."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        events = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal events
            if is_write(event, arguments):
                events += 1
                if events == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        torch.set_num_threads(1)
        work()
        if counted is not None:
            counted.write_text(str(events), encoding="ascii")
        status = 0
    except HardtemperError:
        status = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _undisturbed(work: Callable[[], object], folder: Path) -> tuple[float, int]:
    """Seconds, and number of writes, of a run that nothing stops."""
    start, counted = time.monotonic(), folder / "writes"
    child = fork(work, counted=counted)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the undisturbed run failed"
    return time.monotonic() - start, int(counted.read_text(encoding="ascii"))


def _killed(random: Random, work: Callable[[], object], *, seconds: float, writes: int) -> bool:
    """Run once, with a kill on the way; whether it came before the end."""
    if random.random() < 0.5:
        child = fork(work, dies_at=random.randint(1, writes))
    else:
        child, end = fork(work), time.monotonic() + random.uniform(0, seconds)
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
    lower = stages.lower

    def remembering(module: torch.nn.Module, *, input_shape: tuple[int, int, int]) -> Any:
        digest = hashlib.sha256(f"{module} {input_shape}".encode())
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        key = digest.hexdigest()
        if key not in known:
            known[key] = lower(module, input_shape=input_shape)
        return known[key]

    stages.lower = remembering


def finish(work: Callable[[], object]) -> bool:
    _, status = os.waitpid(fork(work), 0)
    return status == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A run that is disturbed.

    Attributes:
        name: what it is.
        folder: of its own.
        prepare: makes the place that a run works in.
        run: does it there.
        lost: says what of the former bundle cannot be opened there, "" where it is whole.
        differs: says what differs from an undisturbed run's result, "" where nothing does.
        seconds: that an undisturbed run takes.
        writes: how many there are in it.
    """

    name: str
    folder: Path
    prepare: Callable[[Path], object]
    run: Callable[[Path], object]
    lost: Callable[[Path], str]
    differs: Callable[[Path], str]
    seconds: float = 0.0
    writes: int = 0


def _timed(part: Part) -> Part:
    """With what an undisturbed run takes; two of them give the same."""
    again = part.folder / "again"
    part.prepare(again)
    seconds, writes = _undisturbed(partial(part.run, again), part.folder)
    assert not part.differs(again), "two undisturbed runs differ"
    shutil.rmtree(again)
    return replace(part, seconds=seconds, writes=writes)


def build_part(folder: Path) -> Part:
    """A build over a former bundle."""
    recipe = RECIPE | {"data": {**RECIPE["data"], "name": str(CORPUS / "data.npz")}}
    former, right = CORPUS / "conv", folder / "right" / "out"
    _remember_lowered()

    def prepare(place: Path) -> None:
        shutil.copytree(former, place / "out")

    def run(place: Path) -> None:
        api.build(recipe, out=place / "out", overwrite=True)

    def lost(place: Path) -> str:
        """The former bundle or the new one is at its place, or the former beside it, byte for byte."""
        out = place / "out"
        for one in [out] if out.exists() else list(place.glob(f".{out.name}.*.old")):
            if not _damage(one) and any(not compare_bundles(one, whole) for whole in (former, right)):
                return ""
        return "no whole bundle"

    folder.mkdir()
    run(folder / "right")
    return _timed(
        Part(
            name="build",
            folder=folder,
            prepare=prepare,
            run=run,
            lost=lost,
            differs=lambda place: compare_bundles(place / "out", right),
        )
    )


def bench_part(folder: Path) -> Part:
    """A bench run that stores its figures in the bundle."""
    # what would be measured in a process of its own is no part of what is stored on the way
    bench_run.measure_peak_memory = lambda *_, batch, **__: Skip(what=f"peak memory, batch {batch}", reason="soak")
    right = folder / "right"

    def prepare(place: Path) -> None:
        shutil.copytree(CORPUS / "conv", place / "bundle")

    def run(place: Path) -> None:
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

    folder.mkdir()
    prepare(right)
    run(right)
    return _timed(
        Part(
            name="bench",
            folder=folder,
            prepare=prepare,
            run=run,
            lost=lambda place: _damage(place / "bundle"),
            differs=lambda place: _compare_benches(place, right),
        )
    )


def _damage(bundle: Path) -> str:
    try:
        read_bundle(bundle)
    except HardtemperError as error:
        return str(error)
    return ""


@dataclass(kw_only=True, slots=True)
class Kills:
    """What was found.

    Attributes:
        rounds: runs that were finished after their kills.
        kills: SIGKILLs that ended a run.
        lost: how often the former bundle, or the one that is measured, could not be opened after a kill.
        different: how often the finished result differs from that of an undisturbed run.
        bad: what was lost or different.
    """

    rounds: int = 0
    kills: int = 0
    lost: int = 0
    different: int = 0
    bad: list[str] = field(default_factory=list)


def kill(part: Part, *, kills: int, seed: int, progress: Callable[[Kills], object] = lambda _: None) -> Kills:
    """Runs, each killed one to four times and then run to its end, until there were so many kills."""
    found, random = Kills(), Random(f"{part.name} {seed}")
    while found.kills < kills:
        place = part.folder / f"round-{found.rounds}"
        part.prepare(place)
        for _ in range(random.randint(1, 4)):
            if not _killed(random, partial(part.run, place), seconds=part.seconds, writes=part.writes):
                break
            found.kills += 1
            if lost := part.lost(place):
                found.lost += 1
                found.bad.append(f"round {found.rounds}: {lost}")
        differs = part.differs(place) if finish(partial(part.run, place)) else "the end: it was refused; that"
        if differs:
            found.different += 1
            found.bad.append(f"round {found.rounds}: {differs} differs")
        found.rounds += 1
        shutil.rmtree(place)
        progress(found)
    return found


def compare_bundles(one: Path, other: Path) -> str:
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
    """Without latencies, times, the folder, and the digest of the bundle that latencies were stored in."""
    del report["bundle_sha256"]
    for subject in report["subjects"]:
        rows = subject["measurements"]
        subject["measurements"] = [row for row in rows if row["name"] not in ("latency", "throughput", "speedup")]
    return _placeless(report, place)


def _placeless(value: Any, place: Path) -> Any:
    """JSON without times, and the same for every folder."""
    return json.loads(json.dumps(_timeless(dict(value))).replace(str(place), "PLACE"))
