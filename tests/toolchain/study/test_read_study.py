"""Study files: the shipped ones hold the paper's cells and values, written down here by hand from its text."""

from __future__ import annotations

from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.read_study import load_study, parse_study, study_names

CELLS = {
    "figure1a": 18,
    "figure1c": 8,
    "figure2": 6,
    "figure3-left": 18,
    "figure3-right": 8,
    "figure4-left": 4,
    "table10": 12,
    "table11": 16,
    "table2": 3,
    "table3": 12,
    "table5": 8,
    "table6": 8,
    "table7": 6,
    "table8": 7,
}

OTHER_PAPERS = {
    "atmc-figure1": 24,
    "atmc-figure2": 12,
    "deep-figure1": 20,
    "deep-figure2": 2,
    "deep-figure5": 10,
    "deep-figure7": 8,
    "deep-table1": 5,
}

NO_PAPER = {"equal-cost": 12, "finetuning-cost": 10}

TABLE_3 = """
f_st^p        33.21 3.96  00.33 0.64
T_st(f_st^p)  88.94 1.03  00.28 0.64
T_ad(f_st^p)  83.91 1.53  76.74 2.33
f_st^q        90.40 0.16  11.72 2.71
T_st(f_st^q)  90.07 0.56   7.00 1.44
T_ad(f_st^q)  84.93 0.71  79.43 0.59
f_rb^p        16.68 4.57  14.40 5.47
T_st(f_rb^p)  87.71 0.40  16.26 5.45
T_ad(f_rb^p)  84.53 1.21  78.84 2.04
f_rb^q        87.90 0.34  82.80 0.14
T_st(f_rb^q)  89.54 0.47  25.66 10.61
T_ad(f_rb^q)  87.51 0.04  82.65 0.11
"""
TABLE_2 = """
f_st        90.49 0.22   4.26 2.36
f_rb        87.87 0.33  82.51 0.16
T_ad(f_st)  85.37 0.44  77.53 1.17
"""
TABLE_8 = """
f_st          90.49 0.22   4.26 2.36
T_ad(f_st^p)  83.91 1.53  76.74 2.23
T_ad(f_st^q)  84.93 0.71  79.43 0.59
f_rb          87.87 0.33  82.51 0.16
T_ad(f_rb^p)  84.53 1.21  78.84 2.04
T_ad(f_rb^q)  87.51 0.04  82.65 0.11
T_ad(f_rb^q)  88.27 0.42  81.18 1.08
"""
LARGE = """
wrn f_st       91.20 0.26   4.96 0.93
wrn f_rb       85.81 0.21   9.44 0.14
vit f_st       85.22 0.44  13.84 0.49
vit f_rb       80.91 0.26  24.22 0.51
"""
"""Of all four tables of larger networks."""
TABLE_10 = """
wrn INT8  89.72 0.96  6.60 0.61  85.69 0.46  11.25 0.97
wrn INT4  88.07 0.19  6.27 0.15  85.71 5.76  10.68 7.09
vit INT8  84.62 0.06  16.53 0.99  79.17 0.32  22.10 0.30
vit INT4  78.03 1.02  15.57 5.82  78.97 0.52  14.07 0.53
"""
TABLE_11 = """
wrn 0.2  87.07 0.74  8.75 0.82  85.44 0.17  11.53 0.63
wrn 0.5  87.04 0.83  7.46 3.07  85.02 0.41  11.47 0.08
wrn 0.8  89.05 0.45  5.66 0.27  83.07 0.26   9.56 0.72
vit 0.2  80.43 0.97  19.25 0.96  79.17 0.68  27.88 0.70
vit 0.5  80.99 0.91  17.29 0.98  78.29 0.84  26.30 0.93
vit 0.8  82.17 0.60  14.45 0.80  79.11 0.85  24.44 0.76
"""
TABLE_7 = """
f_st^d        24.73   3.05
T_st(f_st^d)  86.07   3.60
T_ad(f_st^d)  81.20  75.40
f_rb^d        30.75  24.11
T_st(f_rb^d)  85.30  12.02
T_ad(f_rb^d)  81.83  76.21
"""

PICTURE = {
    "kind": "features",
    "title": "t",
    "label": "Bag",
    "attack": "pgd-20",
    "pairs": [["clean-pruned-none", "clean-none-none"]],
}
"""Of a cell that the tiny study does not have."""


def values(text: str) -> list[list[Any]]:
    return [[line.split()[0], *map(float, line.split()[1:])] for line in text.strip().splitlines()]


def test_the_shipped_studies() -> None:
    assert {name: len(load_study(name).cells) for name in study_names()} == CELLS | OTHER_PAPERS | NO_PAPER


@pytest.mark.parametrize(
    ("name", "text"), [("table2", TABLE_2), ("table3", TABLE_3), ("table7", TABLE_7), ("table8", TABLE_8)]
)
def test_cells_are_the_papers(name: str, text: str) -> None:
    study = load_study(name)
    found = [[study.label(cell), *(cell.test or ()), *(cell.robustness or ())] for cell in study.cells]
    assert found == values(text)
    assert study.seeds == (0, 1, 2)
    assert name.replace("table", "table ") in study.source


@pytest.mark.parametrize(
    ("name", "text", "levels"),
    [
        ("table5", TABLE_10, {"INT8"}),
        ("table10", TABLE_10, {"INT8", "INT4"}),
        ("table6", TABLE_11, {"0.8"}),
        ("table11", TABLE_11, {"0.2", "0.5", "0.8"}),
    ],
)
def test_cells_of_larger_networks_are_the_papers(name: str, text: str, levels: set[str]) -> None:
    study = load_study(name)
    dense, others = [], {}
    for cell in study.cells:
        found = [*(cell.test or ()), *(cell.robustness or ())]
        level = study.compressions[cell.compression].level
        if level is None:
            dense.append([f"{cell.network}", study.label(cell), *map(str, found)])
        else:
            others.setdefault((cell.network, str(level)), []).extend(found)
    assert [[*line[:2], *map(float, line[2:])] for line in dense] == [
        [*line.split()[:2], *map(float, line.split()[2:])] for line in LARGE.strip().splitlines()
    ]
    lines = [line.split() for line in text.strip().splitlines()]
    assert others == {(line[0], line[1]): [*map(float, line[2:])] for line in lines if line[1] in levels}
    assert study.attack == "apgd-ce,apgd-dlr"


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_is_a_recipe_in_the_papers_setting(name: str) -> None:
    study = load_study(name)
    for cell in study.cells:
        recipe = Scaled(study=study).recipe(cell, 1)
        assert (recipe.train.epochs, recipe.train.learning_rate, recipe.train.momentum) == (20, 0.1, 0.0)
        assert (recipe.adversary.threat, recipe.adversary.steps) == ("linf:0.1", 20)
        assert recipe.train.against == cell.training
        tuned = [stage for stage in (recipe.finetune, recipe.finetune_twin) if stage.epochs]
        assert len(tuned) == (cell.finetuning != "none")
        for stage in tuned:
            assert stage.against == cell.finetuning
            long = {"aware": 23 if name == "table8" else 20}.get(cell.compression.rstrip("0123456789"), 3)
            assert stage.epochs == long
            assert stage.learning_rate == (0.1 if stage is recipe.finetune else 0.01)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_what_the_compressions_are(name: str) -> None:
    study = load_study(name)
    for cell in study.cells:
        compression = study.compressions[cell.compression]
        recipe = Scaled(study=study).recipe(cell, 0)
        sparsities = [getattr(step, "sparsity", None) for step in recipe.network_steps]
        assert (cell.network is not None) == bool(study.networks)
        if compression.symbol == "p":
            assert sparsities == [compression.level]
            assert compression.measured[0] == "network"
        elif compression.symbol == "q":
            assert recipe.network_steps == ()
            assert compression.measured == ("engine",)
            assert compression.level == f"INT{recipe.quantize.weight_bits}" == f"INT{recipe.quantize.activation_bits}"
        elif compression.symbol == "d":
            assert [(step.method, step.account["share"]) for step in recipe.network_steps] == [("factorize", 0.5)]


def test_figures_have_the_papers_levels() -> None:
    found = {name: [cell.compression for cell in load_study(name).cells] for name in ("figure1a", "figure3-left")}
    nine = [f"pruned{n}" for n in range(1, 10)]
    assert found == {"figure1a": 2 * nine, "figure3-left": 2 * nine}
    assert [load_study("figure1c").compressions[f"bits{n}"].level for n in (8, 4, 2, 1)] == [
        "INT8",
        "INT4",
        "INT2",
        "INT1",
    ]


def test_an_unknown_study_is_one_line_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError) as caught:
        load_study("tabel3")
    assert "unknown study 'tabel3'" in str(caught.value)
    assert "did you mean 'table3'?" in str(caught.value)
    with pytest.raises(RecipeError, match=r"one of atmc-figure1, .*table8$"):
        load_study("xyz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": [{"training": "clean", "compression": "none", "finetuning": "much"}]}, "cells.0.finetuning"),
        ({"cells": [{"training": "clean", "compression": "shared", "finetuning": "none"}]}, "cell clean-shared-none"),
        ({"cells": [{"training": "clean", "compression": "none", "finetuning": "none"}] * 2}, "got: 2 times"),
        ({"cells": []}, "cells"),
        (
            {"cells": [{"network": "vit", "training": "clean", "compression": "none", "finetuning": "none"}]},
            "1 times, vit",
        ),
        ({"colour": 1}, "colour"),
        ({"base": "nothing"}, "unknown study 'nothing'"),
        ({"pictures": {"seen": PICTURE}}, "got: clean-none-none"),
    ],
)
def test_a_wrong_file_says_where(tiny_settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_study("tiny", tiny_settings | change)


def test_a_study_on_another_one(tiny_settings: dict[str, Any]) -> None:
    own = {"title": "t", "source": "s", "base": "table3", "cells": load_study("table3").model_dump()["cells"]}
    study = parse_study("mine", own | {"compressions": {"pruned": tiny_settings["compressions"]["pruned"]}})
    assert study.recipe == load_study("table3").recipe
    assert study.compressions["pruned"].label == "half of the filters"
    assert study.compressions["quantized"] == load_study("table3").compressions["quantized"]
    assert study.test_images == 10000


DEEP_TABLE_1 = """
Baseline               71.8 12.0 534.3
Pruned                 57.0  5.8 263.9
Pruned + Retrained     64.2 10.3 263.9
Pruned + Adv Ret.      54.6 25.6 263.9
Pruned + Adv Ret. + WS 55.5 23.9  45.5
"""


def test_deep_compressions_table_and_settings() -> None:
    study = load_study("deep-table1")
    rows = [line.rsplit(maxsplit=3) for line in DEEP_TABLE_1.strip().splitlines()]
    found = [(study.label(cell), *(cell.test or ()), *(cell.robustness or ()), cell.size) for cell in study.cells]
    assert found == [(name.strip(), *map(float, values)) for name, *values in rows]
    assert study.paper_data == "ILSVRC 2012"
    recipe = Scaled(study=study).recipe(study.cells[-1], 0)  # appendix C
    tuned, adversary = recipe.finetune, recipe.adversary
    assert (tuned.epochs, tuned.batch_size, tuned.learning_rate) == (1, 128, 0.005)
    assert (tuned.weight_decay, tuned.momentum, tuned.schedule) == (0.005, 0.9, "constant")
    assert (adversary.threat, adversary.attack, adversary.step_size) == ("linf:0.03", "fgsm", 0.03)
    assert (adversary.random_start, adversary.objective, adversary.weight) == (False, "mmr", 0.1)
    pruned, shared = recipe.compress
    assert (pruned.account["sparsity"], pruned.account["scope"]) == (0.5, "global")
    assert (shared.account["conv_bits"], shared.account["linear_bits"]) == (8, 5)


@pytest.mark.parametrize("name", sorted(OTHER_PAPERS))
def test_cells_of_other_papers_are_recipes_at_every_scale(name: str) -> None:
    study = load_study(name)
    for scale in (1.0, 0.001):
        scaled = Scaled(study=study, scale=scale)
        for cell in study.cells:
            recipe = scaled.recipe(cell, 1)
            assert recipe.train.against == cell.training
            assert bool(recipe.finetune.epochs) == (cell.finetuning != "none")
            assert recipe.network_steps or cell.compression == "none"


def test_the_scale_reaches_a_compressions_own_training() -> None:
    study = load_study("atmc-figure1")
    cell = of_line(study, "ATMC 8 bits")
    epochs = [
        Scaled(study=study, scale=scale).recipe(cell, 0).network_steps[0].account["epochs"] for scale in (1, 0.01)
    ]
    assert epochs == [50, 8]  # 50 * 0.01^0.4


def test_what_the_lines_of_atmc_are() -> None:
    study = load_study("atmc-figure1")
    recipes = {cell.line: Scaled(study=study).recipe(cell, 0) for cell in study.cells}
    steps = {line: [step.method for step in recipe.network_steps] for line, recipe in recipes.items()}
    assert steps == {
        "DA": [],
        "NAP": ["weights"],
        "AP": ["weights"],
        "Al0": ["atmc"],
        "ALR": ["factorize"],
        "ATMC 32 bits": ["atmc"],
        "ATMC 8 bits": ["atmc"],
    }
    assert {line for line, recipe in recipes.items() if recipe.train.against == "clean"} == {"NAP"}
    found = {line: recipe.network_steps[0].account for line, recipe in recipes.items() if steps[line] == ["atmc"]}
    assert {line: (one["bits"], one["factors"]) for line, one in found.items()} == {
        "Al0": (None, False),
        "ATMC 32 bits": (None, True),
        "ATMC 8 bits": (8, True),
    }


def of_line(study: Any, line: str) -> Any:
    return next(cell for cell in study.cells if cell.line == line)
