"""Mutations of what JSON and TOML hold: a key or an item anywhere is removed, added, renamed, moved or replaced."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from mutate_bytes import ODD_INTEGERS

__all__ = ["mutate_tree", "odd_value", "paths_of"]

_ODD_FLOATS = (0.0, -0.0, 0.5, -1.0, 1e-45, 1e308, float("inf"), float("-inf"), float("nan"))
_ODD_TEXT = ("", " ", "0", "none", "a" * 300, "b" * 20_000, "\x1b[31m", "a\nb", "a\0b", "\ud800", "\u202ex")
_ODD_TEXT += (
    "../x",
    "/",
    "/dev/zero",
    "/proc/self/mem",
    "manifest.json",
    ".",
    "..",
    "con",
    "é",
    "x" * 255,
    "a/b" * 200,
)
_ODD_TEXT += ("linf:8/255", "linf:1e400", "l2:nan", "resnet18", "numpy:zeros", "os:getcwd", "model.onnx", "x.pt2")


def odd_value(random: Random, depth: int = 0) -> Any:  # noqa: PLR0911 - one a kind of value
    """A value that few expect."""
    match random.randrange(9 if depth < 3 else 6):
        case 0:
            return random.choice((None, True, False))
        case 1:
            return random.choice(ODD_INTEGERS)
        case 2:
            return random.choice(_ODD_FLOATS)
        case 3 | 4:
            return random.choice(_ODD_TEXT)
        case 5:
            return random.choice((10**30, -(10**400), random.randrange(100)))
        case 6:
            return [odd_value(random, depth + 1) for _ in range(random.choice((0, 1, 3)))]
        case 7:
            return {str(odd_value(random, 9)): odd_value(random, depth + 1) for _ in range(random.choice((0, 1, 3)))}
        case _:
            deep: Any = 0
            for _ in range(random.choice((5, 70, 300))):
                deep = [deep] if random.random() < 0.5 else {"a": deep}
            return deep


def paths_of(tree: Any) -> list[tuple[Any, ...]]:
    """Of every value below the top."""
    found: list[tuple[Any, ...]] = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += [(key,), *((key, *below) for below in paths_of(value))]
    return found


def mutate_tree(random: Random, tree: Any, *, most: int = 2) -> Any:
    """A copy of `tree`, a dict or a list, after one to `most` mutations."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randint(1, most)):
        paths = paths_of(tree)
        if not paths:
            return odd_value(random)
        # a path of few parts is as likely as one of many: a manifest's long lists would take nearly all mutations
        depth = random.choice(sorted({len(path) for path in paths}))
        path = random.choice([path for path in paths if len(path) == depth])
        place = tree
        for key in path[:-1]:
            place = place[key]
        _mutate(random, tree, place, path[-1], paths)
    return tree


def _mutate(random: Random, tree: Any, place: Any, key: Any, paths: list[tuple[Any, ...]]) -> None:
    match random.randrange(8):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[str(odd_value(random, 9))] = odd_value(random)
        case 1 | 2 if isinstance(place, list):
            place.insert(random.randrange(len(place) + 1), copy.deepcopy(place[key]))
        case 2 if isinstance(place, dict):
            place[random.choice((f"{key}x", key.upper(), str(odd_value(random, 9))))] = place.pop(key)
        case 3:
            place[key] = copy.deepcopy(_at(tree, random.choice(paths)))
        case 4 if isinstance(place[key], (int, float)) and not isinstance(place[key], bool):
            place[key] = random.choice(
                (-place[key], place[key] + 1, place[key] - 1, place[key] * 1000, str(place[key]))
            )
        case 4 if isinstance(place[key], str):
            text = place[key]
            place[key] = random.choice((text + "x", text[:-1], text.upper(), [text], text.encode().hex()))
        case _:
            place[key] = odd_value(random)


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
