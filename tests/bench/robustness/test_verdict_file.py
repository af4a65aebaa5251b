"""The verdict in a file that is replayed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.resume import RESUME_FOLDER, ResumeStore
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.bench.robustness.replay_verdict import replay
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings


def test_the_verdict_is_stored_and_no_unfinished_part_is_left(
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    tmp_path: Path,
    settings: Callable[..., BenchSettings],
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    kept = ResumeStore(tmp_path / "work" / RESUME_FOLDER)
    report = run_bench(path, data, settings(images=30, batches=(1,)), work=tmp_path / "work", store=kept)
    assert list(kept.folder.iterdir()), "until the report is stored"
    kept.remove()
    names = sorted(file.name for file in (tmp_path / "work").iterdir())
    about = "quick-linf-10_255-n30-seed0-[0-9a-f]{8}[.]npz"
    assert all(map(re.fullmatch, [f"dense-{about}", f"shipped-{about}"], names)), names
    assert len(names) == 2
    shipped = report.subject("shipped")
    assert shipped.notes == (f"adversarial images, for `toolchain replay`: {tmp_path / 'work' / names[1]}",)
    archive = read_archive(tmp_path / "work" / names[1])
    again = replay(archive, three_classes, name="the same")
    result = shipped.robustness
    assert result is not None
    assert (again.n, again.clean, again.robust) == (30, result.clean, result.robust.sum())
    assert [(a.name, a.broken, a.stored) for a in again.attacks] == [
        (o.plan.name, o.broken, o.broken) for o in result.attacks
    ]
    assert np.array_equal(data.test.images[archive.indices], archive.images)
    assert np.array_equal(data.test.labels[archive.indices], archive.labels)
