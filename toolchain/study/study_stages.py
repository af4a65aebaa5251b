"""The stages of a study, each done once in a folder that several processes, and several studies, may share.

    trained/      dense networks, by training and seed: f_st, f_rb
    compressed/   checkpoints of compressions that train
    cells/        compressed and fine-tuned networks as graphs, and a row for each measurement

A dense network is one piece of work; a compression of it with all fine-tunings behind it is the next. Stages are named
by a digest of what led to them (`stage_marks.py`), and training goes on from its last epoch.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...bench.attacks.threat.threat_model import ThreatModel
from ...runtime.files.atomic import write_whole
from ...runtime.progress import ProgressCallback
from ..compress.compressed import Compressed
from ..pipeline.stages import Prepared, compress_dense, finish, prepare_for, train_dense
from ..recipe.recipe import Recipe
from .cell_graphs import cell_graphs, cell_sizes
from .cell_recipe import Scaled
from .finished_rows import finished_row
from .measure_cell import Measure, measure_file
from .stage_marks import cell_mark, compression_mark, training_mark
from .study_data import StudyData
from .study_file import StudyCell
from .timed_checkpoints import TimedCheckpoints
from .work_queue import WorkItem

__all__ = ["CellRun", "StudyStages"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRun:
    """One cell of one seed, finished.

    Attributes:
        cell: which.
        seed: of everything random.
        made: the row of its training: processor seconds, parameters, multiplications.
        measured: rows by subject ("network", "masked", "engine") and name of the measure.
        graphs: ONNX files by subject; their names tell everything that led to them.
    """

    cell: StudyCell
    seed: int
    made: dict[str, Any]
    measured: dict[tuple[str, str], dict[str, Any]]
    graphs: dict[str, Path]


class StudyStages:
    """The stages of a study as work items.

    Args:
        scaled: the study.
        measures: attacks, names all different.
        out: the folder.
        progress: told of training, under the names of stages and cells.
    """

    def __init__(
        self,
        scaled: Scaled,
        measures: Sequence[Measure],
        out: Path,
        progress: ProgressCallback,
    ) -> None:
        self._scaled, self._measures, self._out, self._progress = scaled, measures, out, progress
        self._data = StudyData(scaled.train_images)
        self._trained: dict[str, WorkItem] = {}
        self._branches: dict[str, WorkItem] = {}
        self._cells: dict[str, dict[str, tuple[StudyCell, int]]] = {}

    def add(self, cell: StudyCell, seed: int) -> None:
        """Plan a cell and what it needs."""
        recipe = self._scaled.compression_recipe(cell, seed)
        dense, branch = self._names(cell, seed)
        self._cells.setdefault(branch, {})[self._name(cell, seed)] = (cell, seed)
        done = self._out / "trained" / f"{dense}.json"
        self._trained.setdefault(
            dense, WorkItem(name=dense, finished=done.exists, work=partial(self._train, dense, recipe))
        )
        self._branches.setdefault(
            branch,
            WorkItem(
                name=branch,
                needs=(dense,),
                finished=partial(self._finished, branch),
                work=partial(self._branch, branch, dense, recipe),
            ),
        )

    def items(self) -> list[WorkItem]:
        """Trainings first: others wait for them."""
        return [*self._trained.values(), *self._branches.values()]

    def read(self, cell: StudyCell, seed: int) -> CellRun:
        """A finished cell."""
        name = self._name(cell, seed)
        dense, _ = self._names(cell, seed)
        rows = {(subject, measure.name): _read(path) for subject, measure, path in self._rows(cell, name)}
        made = _read(self._path(name, ".json")) | {"dense": _read(self._out / "trained" / f"{dense}.json")}
        graphs = {subject: self._path(name, f".{subject}.onnx") for subject in self._subjects(cell)}
        return CellRun(cell=cell, seed=seed, made=made, measured=rows, graphs=graphs)

    def _names(self, cell: StudyCell, seed: int) -> tuple[str, str]:
        """Of the dense network and of the compressed one."""
        recipe = self._scaled.compression_recipe(cell, seed)
        data = self._data.mark(recipe)
        return (
            f"{cell.training}-{seed}-{training_mark(recipe, data)}",
            f"{cell.training}-{cell.compression}-{seed}-{compression_mark(recipe, data)}",
        )

    def _name(self, cell: StudyCell, seed: int) -> str:
        recipe = self._scaled.recipe(cell, seed)
        data = self._data.mark(recipe)
        compressed = compression_mark(self._scaled.compression_recipe(cell, seed), data)
        return f"{cell.key}-{seed}-{cell_mark(recipe, compressed, data)}"

    def _path(self, name: str, suffix: str) -> Path:
        return self._out / "cells" / f"{name}{suffix}"

    def _rows(self, cell: StudyCell, name: str) -> list[tuple[str, Measure, Path]]:
        return [
            (subject, measure, self._path(name, f".{subject}.{measure.name.replace(' ', '_')}.{measure.images}.json"))
            for subject in self._subjects(cell)
            for measure in self._measures
        ]

    def _subjects(self, cell: StudyCell) -> tuple[str, ...]:
        return self._scaled.study.compressions[cell.compression].measured

    def _finished(self, branch: str) -> bool:
        return all(
            self._path(name, ".json").exists() and all(path.exists() for _, _, path in self._rows(cell, name))
            for name, (cell, _) in self._cells[branch].items()
        )

    def _dense(self, name: str, recipe: Recipe) -> tuple[Prepared, float]:
        """With the network trained, or read from its checkpoint; and its processor seconds."""
        prepared, clock = self._for(prepare_for(recipe, self._data.of(recipe)), name, self._out / "trained" / name)
        train_dense(recipe, prepared)
        return prepared, clock.total

    def _train(self, name: str, recipe: Recipe) -> None:
        def row() -> dict[str, Any]:
            prepared, seconds = self._dense(name, recipe)
            parameters = sum(parameter.numel() for parameter in prepared.source.module.parameters())
            return {"cpu_seconds": seconds, "images": len(prepared.data.train), "parameters": parameters}

        finished_row(self._out / "trained" / f"{name}.json", row)

    def _branch(self, name: str, dense: str, recipe: Recipe) -> None:
        """Compress once, then every fine-tuning of it."""
        prepared, _ = self._dense(dense, recipe)
        prepared, _ = self._for(prepared, name, self._out / "compressed" / name)
        began = time.process_time()
        compressed = compress_dense(recipe, prepared)
        seconds = time.process_time() - began
        for cell_name, (cell, seed) in self._cells[name].items():
            chosen = self._scaled.recipe(cell, seed)
            make = partial(self._make, cell_name, chosen, prepared, copy.deepcopy(compressed))
            made = partial(make, subjects=self._subjects(cell), seconds=seconds)
            finished_row(self._path(cell_name, ".json"), made)
            threat = ThreatModel.parse(chosen.adversary.threat)
            for subject, measure, path in self._rows(cell, cell_name):
                graph = self._path(cell_name, f".{subject}.onnx")
                self._progress(f"{cell_name}: {subject}", 0, 1, measure.name)
                measured = partial(measure_file, graph, prepared.data, threat, measure)
                finished_row(path, measured)
                self._progress(f"{cell_name}: {subject}", 1, 1, measure.name)

    def _for(self, prepared: Prepared, name: str, folder: Path) -> tuple[Prepared, TimedCheckpoints]:
        """The same network for another stage, whose checkpoints and name in progress are its own."""
        clock = TimedCheckpoints(folder, name)

        def tell(task: str, done: int, total: int, text: str) -> None:
            self._progress(f"{name}: {task}", done, total, text)

        return replace(prepared, training=replace(prepared.training, progress=tell, checkpoints=clock)), clock

    def _make(
        self,
        name: str,
        recipe: Recipe,
        prepared: Prepared,
        compressed: Compressed,
        *,
        subjects: Sequence[str],
        seconds: float,
    ) -> dict[str, Any]:
        """Fine-tune, quantize, fine-tune the twin; write the graphs that are measured."""
        mine, clock = self._for(prepared, name, self._out / "cells" / name)
        hardened = finish(recipe, mine, compressed, None)
        graphs = cell_graphs(hardened, mine.source, subjects)
        for subject, graph in graphs.items():
            write_whole(self._path(name, f".{subject}.onnx"), graph.SerializeToString(deterministic=True))
        return {
            "recipe": recipe.model_dump(mode="json", exclude_defaults=True),
            "images": len(mine.data.train),
            "parameters": compressed.parameters_after,
            "MACs": compressed.macs_after,
            "cpu_seconds": {"compress": seconds, "finetune": clock.total},
        } | cell_sizes(hardened, mine.source, graphs)


def _read(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return row
