"""Why is the clean accuracy low? The likely reasons are tried on clean images, and the one that helps is named.

Where the clean accuracy is near chance or below 75 %, the network is asked once more about images of the training part
in other forms (`input_forms.py`), each with the classes as they are and in the order that fits best
(`permuted_classes.py`). Otherwise the answers that are there say whether some of the classes are exchanged. Nothing is
chosen by that: the figure stands, and one line says what another form would give. The rules are in `chance.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.engine import Engine
from ...runtime.progress import ProgressCallback, silent
from ..data.dataset import Dataset, Part
from ..robustness.alarm import Alarm
from ..robustness.clean_accuracy import CleanAnswers
from ..robustness.criteria import predictions, right_answers
from .chance import far_more, near_chance, one_answer
from .input_forms import AS_IT_IS, Form, answers, first_forms, further_forms
from .permuted_classes import LEAST_IMAGES, ClassOrder, best_order

__all__ = ["Diagnosis", "diagnose"]

_LOW = 0.75
_FEW = 128
"""Images that every form is tried on; the one that looks best is tried on more."""

_LEAST, _MOST, _A_CLASS = 512, 2048, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        alarm: "data mismatch", raised or not.
        notes: what was tried and what helps; empty where nothing is wrong.
    """

    alarm: Alarm
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Found:
    """What a network says to n images in one form: right answers as the classes are, and in the order that fits best.

    `order` is None where it is no better or cannot be told.
    """

    form: Form
    n: int
    right: int
    order: ClassOrder | None

    @classmethod
    def of(
        cls,
        form: Form,
        predicted: NDArray[np.int64],
        right: NDArray[np.bool_],
        labels: NDArray[np.int64],
        classes: int,
    ) -> _Found:
        count = int(right.sum())
        order = best_order(predicted, labels, classes)
        helps = order is not None and far_more(order.right, count / len(labels), labels)
        return cls(form=form, n=len(labels), right=count, order=order if helps else None)

    @property
    def best(self) -> int:
        """Right answers in the order that is better."""
        return self.right if self.order is None else self.order.right


def diagnose(
    clean: CleanAnswers, engine: Engine, dataset: Dataset, *, seed: int, progress: ProgressCallback = silent
) -> Diagnosis:
    """See whether network and data fit.

    Args:
        clean: what the engine says to the test images as they are.
        engine: the network.
        dataset: where they are from.
        seed: draws the images to try on.
        progress: told after each form; the task is "input forms".

    Raises:
        ModelError: the backend failed.
    """
    n, right, k = clean.n, int(clean.right.sum()), len(dataset.classes)
    if len(np.unique(clean.labels)) < 2:
        return _said(n)  # one class alone: its share of right answers says nothing of the others
    near, constant = near_chance(right, n, k), one_answer(clean.predicted, clean.labels)
    if not (near or constant) and right / n >= _LOW:
        found = _Found.of(AS_IT_IS, clean.predicted, clean.right, clean.labels, k)
        helps = far_more(found.best, right / n, clean.labels)
        return _said(n, f"{_accuracy(clean)}: {_advice(found, dataset, f'these {n} images')}") if helps else _said(n)
    part = _images(dataset, seed)
    where = f"{len(part)} {'training' if part.split == 'train' else 'test'} images"
    asked = _ask(engine, part, AS_IT_IS, k)
    accuracy = f"{_accuracy(clean)}{f' is near chance ({100 / k:.3g} %)' if near else ''}"
    if constant:
        accuracy += f", and every image is taken for class {dataset.classes[int(clean.predicted[0])]}"
    if near and asked.best == asked.right and far_more(asked.right, right / n, part.labels):
        share = 100 * asked.right / len(part)
        return _said(n, f"{accuracy}, but {share:.1f} % of {where} are right: test and training data are unlike")
    best, tried = _search(engine, part, asked, k, progress)
    if far_more(best.best, asked.right / len(part), part.labels):
        return _said(n, f"{accuracy}: {_advice(best, dataset, where)}")
    if not (near or constant):
        return _said(n)
    most = 100 * best.best / len(part)
    return _said(n, f"{accuracy}; tried on {where}: {', '.join(tried)}; none gives more than {most:.1f} %")


def _said(n: int, *notes: str) -> Diagnosis:
    return Diagnosis(alarm=Alarm.of("data mismatch", n if notes else 0, n), notes=notes)


def _accuracy(clean: CleanAnswers) -> str:
    return f"clean accuracy {100 * clean.right.mean():.1f} %"


def _images(dataset: Dataset, seed: int) -> Part:
    """Training images, where there are enough or no fewer than test images."""
    source = dataset.train if len(dataset.train) >= min(len(dataset.test), _FEW) else dataset.test
    return source.at_most(min(max(_LEAST, _A_CLASS * len(dataset.classes)), _MOST), seed=seed)


def _ask(engine: Engine, part: Part, form: Form, classes: int) -> _Found:
    logits = answers(engine, part.images, form)
    return _Found.of(form, predictions(logits), right_answers(logits, part.labels), part.labels, classes)


def _search(
    engine: Engine, part: Part, asked: _Found, classes: int, progress: ProgressCallback
) -> tuple[_Found, list[str]]:
    """The form that gives most, on all images of the part; and what was tried."""
    few = part.at_most(_FEW, seed=0)
    forms = first_forms(engine, few.images)
    found = [_ask(engine, few, AS_IT_IS, classes)]
    for index, form in enumerate(forms):
        found.append(_ask(engine, few, form, classes))
        progress("input forms", index + 1, len(forms), form.words)
    best = max(found, key=_best)
    further = [form for form in further_forms(best.form, engine) if form not in forms]
    best = max([best, *(_ask(engine, few, form, classes) for form in further)], key=_best)
    whole = asked if best.form == AS_IT_IS else _ask(engine, part, best.form, classes)
    tried = list(dict.fromkeys(word for form in forms for word in (form.values, *form.moves) if word))
    enough = len(part) >= LEAST_IMAGES * len(np.unique(part.labels))
    return max(asked, whole, key=_best), [*tried, *(["another order of the classes"] if enough else [])]


def _best(found: _Found) -> int:
    return found.best


def _advice(found: _Found, dataset: Dataset, where: str) -> str:
    """What it would be in this form, and what to do; one line."""
    changes, fixes = [], []
    if found.form != AS_IT_IS:
        changes.append(found.form.words)
        fixes.append(f"put {found.form.fix} in front of the network")
    if found.order is not None:
        changes.append("the classes in another order")
        fixes.append(f"bring the data's classes into the network's order, {found.order.describe(dataset.classes)}")
    would = f"with {' and '.join(changes)} it would be {100 * found.best / found.n:.1f} % of {where}"
    return f"{would}. What to do: {'; '.join(fixes)} (docs/troubleshooting.md)"
