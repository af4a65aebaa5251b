"""The table of what is mutated and what is then done with it. A case depends on its group, seed and index alone.

Bundles get the hashes of what was mutated, so that the mutation passes the check of hashes; only `damage` does not, and
must be refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from case import Case, Content, Sparse, files_below
from make_corpus import RECIPE
from mutate_arrays import mutate_idx, mutate_npz, seal_verdict
from mutate_bytes import mutate_bytes, mutate_text
from mutate_files import mutate_folder, mutate_picture, mutate_weights
from mutate_json import mutate_tree, odd_value
from mutate_onnx import mutate_graph

__all__ = ["CORPUS", "GROUPS", "KINDS", "kind_of", "make_case", "sound_cases"]

CORPUS = Path(__file__).with_name("corpus")

_BUNDLES = ("conv", "residual", "many")
_QUICK = (
    "--repeats",
    "1",
    "--warmup",
    "0",
    "--min-seconds",
    "0",
    "--batch",
    "1",
    "--clean-images",
    "8",
    "--threads",
    "1",
)
_BUILD = ("toolchain", "build", "--recipe", "recipe.toml", "--out", "out")


@cache
def _folder(name: str) -> dict[str, Content]:
    return files_below(CORPUS / name)


@cache
def _bytes(name: str) -> bytes:
    return (CORPUS / name).read_bytes()


def _data() -> dict[str, Content]:
    return {"data.npz": _bytes("data.npz")}


def _bench(target: str, *more: str) -> tuple[str, ...]:
    return ("toolchain", "bench", target, "--data", "data.npz", *_QUICK, *more)


def _bundle(random: Random) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A seed's files but for its manifest, and that."""
    files = {name: content for name, content in _folder(random.choice(_BUNDLES)).items() if isinstance(content, bytes)}
    return files, json.loads(files.pop("manifest.json"))


def _sealed(files: dict[str, bytes], manifest: dict[str, Any]) -> dict[str, Content]:
    """The files below bundle/, with their hashes in the manifest."""
    manifest["files"] = [
        {"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    ]
    whole: dict[str, Content] = {f"bundle/{name}": content for name, content in files.items()}
    return {**whole, "bundle/manifest.json": json.dumps(manifest).encode()}


def _uses(random: Random) -> tuple[tuple[str, ...], ...]:
    """Opened, and then one of the commands that do more; an attack takes a hundred times as long as opening."""
    if random.random() < 0.03:
        command = _bench("bundle", "--attack", "fgsm", "--images", "2", "--no-dense")
    else:
        verify = ("toolchain", "verify", "bundle", "--images", "8")
        bench = _bench(random.choice(("bundle", "bundle/model.onnx")), "--no-robust")
        replay = ("toolchain", "replay", "verdict.npz", "bundle")
        command = random.choice((verify, verify, ("toolchain", "inspect", "bundle"), bench, replay))
    return (("load", "bundle"), command)


def _graph(random: Random) -> Case:
    files, manifest = _bundle(random)
    names = [name for name in files if name.endswith(".onnx")]
    name = "model.onnx" if random.random() < 0.85 else random.choice(names)
    if random.random() < 0.9:
        files[name], note = mutate_graph(random, files[name])
    else:
        files[name], note = mutate_bytes(random, files[name]), "bytes"
    further = {**_data(), "verdict.npz": _bytes("verdict.npz")}
    return Case(
        kind="graph", files={**_sealed(files, manifest), **further}, calls=_uses(random), note=f"{name}: {note}"
    )


def _manifest(random: Random) -> Case:
    files, manifest = _bundle(random)
    whole = _sealed(files, manifest)
    text = json.dumps(mutate_tree(random, manifest), indent=1)
    match random.randrange(12):
        case 0:
            whole["bundle/manifest.json"] = mutate_bytes(random, text.encode())
        case 1:
            whole["bundle/manifest.json"] = mutate_text(random, text).encode("utf-8", "surrogatepass")
        case 2:
            whole["bundle/manifest.json"] = Sparse(text.encode(), random.choice((2**20, 2**31, 2**40)))
        case _:
            whole["bundle/manifest.json"] = text.encode()
    inspect = ("toolchain", "inspect", "bundle")
    uses = (inspect, (*inspect, "--json"), _uses(random)[1])
    further = {**_data(), "verdict.npz": _bytes("verdict.npz")}
    return Case(kind="manifest", files={**whole, **further}, calls=(("load", "bundle"), random.choice(uses)))


def _proof(random: Random) -> Case:
    files, manifest = _bundle(random)
    files["proof.npz"] = mutate_npz(random, files["proof.npz"])
    return Case(
        kind="proof", files=_sealed(files, manifest), calls=(("toolchain", "verify", "bundle", "--images", "4"),)
    )


def _folder_of_bundle(random: Random) -> Case:
    files = _sealed(*_bundle(random))
    mutate_folder(random, files)
    return Case(
        kind="folder", files={**files, **_data()}, calls=(("load", "bundle"), ("toolchain", "inspect", "bundle"))
    )


def _damage(random: Random) -> Case:
    """A listed file of other bytes than its hash."""
    files, manifest = _bundle(random)
    whole = _sealed(files, manifest)
    name = random.choice(sorted(files))
    content = files[name]
    while content == files[name]:
        content = mutate_bytes(random, files[name])
    whole[f"bundle/{name}"] = content
    return Case(kind="damage", files=whole, calls=(("check", "bundle"),), note=name)


def _toml(tree: Any) -> str:
    """TOML of a dict; what TOML has no word for is written as JSON has it, which no reader takes."""
    lines = []
    for key, value in tree.items() if isinstance(tree, dict) else ():
        lines.append(f"{_key(key)} = {_inline(value)}")
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else json.dumps(key)


def _inline(value: Any, levels: int = 200) -> str:
    """A value, of so many levels at most: more than any reader takes, fewer than Python follows."""
    if levels and isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_inline(inner, levels - 1)}" for key, inner in value.items()) + "}"
    if levels and isinstance(value, list):
        return "[" + ", ".join(_inline(inner, levels - 1) for inner in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value if levels else 0)


def _recipe_file() -> dict[str, Content]:
    return {"recipe.toml": _toml(_recipe_tree()).encode(), **_data()}


def _recipe_tree() -> dict[str, Any]:
    return RECIPE | {"data": {**RECIPE["data"], "name": "data.npz"}}


@cache
def _every_key() -> str:
    from hardtemper.toolchain.recipe.read import with_overrides

    return json.dumps(with_overrides(_recipe_tree(), {}).model_dump(mode="json", exclude_none=True))


def _recipe(random: Random) -> Case:
    tree = json.loads(_every_key()) if random.random() < 0.7 else _recipe_tree()
    text = _toml(mutate_tree(random, tree))
    content = text.encode("utf-8", "surrogatepass")
    match random.randrange(8):
        case 0:
            content = mutate_bytes(random, content)
        case 1 | 2:
            content = mutate_text(random, text).encode("utf-8", "surrogatepass")
    call = _BUILD
    if random.random() < 0.2:
        keys = ("seed", "model.width", "data.image_size", "compress", "adversary.threat", "finetune.epochs", "x", "")
        text = str(odd_value(random)).replace("\0", "").encode("utf-8", "replace").decode()[:50_000]
        call = (*_BUILD, "--set", f"{random.choice(keys)}={text}")
    return Case(kind="recipe", files={**_recipe_file(), "recipe.toml": content}, calls=(call,))


def _verdict(random: Random) -> Case:
    def seal(arrays: dict[str, Any]) -> dict[str, Any]:
        if random.random() < 0.5 and "header" in arrays:
            try:
                header = mutate_tree(random, json.loads(str(arrays["header"])))
                arrays["header"] = np.array(json.dumps(header))
            except ValueError:
                pass
        return seal_verdict(arrays)

    files: dict[str, Content] = {f"bundle/{name}": content for name, content in _folder("conv").items()}
    files["verdict.npz"] = mutate_npz(random, _bytes("verdict.npz"), header=seal)
    call = ("toolchain", "replay", "verdict.npz", "bundle", "--json", "found.json")
    return Case(kind="verdict", files=files, calls=(call,))


def _npz(random: Random) -> Case:
    files = {**_recipe_file(), "data.npz": mutate_npz(random, _bytes("data.npz"))}
    if random.random() < 0.7:
        return Case(kind="npz", files=files, calls=(_BUILD,))
    files |= {f"bundle/{name}": content for name, content in _folder("residual").items()}
    return Case(kind="npz", files=files, calls=(_bench("bundle", "--no-robust", "--no-dense"),))


def _idx(random: Random) -> Case:
    names = [path.name for path in sorted(CORPUS.glob("*-ubyte*"))]
    files = {**_recipe_file(), **{f"mnist/{name}": _bytes(name) for name in names}}
    name = random.choice(names)
    files[f"mnist/{name}"] = mutate_idx(random, _bytes(name))
    return Case(kind="idx", files=files, calls=((*_BUILD, "--data", "mnist", "--data-root", "."),), note=name)


def _pictures(random: Random) -> Case:
    files = {f"images/{name}": content for name, content in _folder("images").items()}
    note = "folder"
    if random.random() < 0.3:
        mutate_folder(random, files)
    else:
        note = random.choice(sorted(files))
        content = files[note]
        assert isinstance(content, bytes)
        files[note] = mutate_picture(random, content)
    size = ("--set", f"data.image_size={random.choice((8, 8, 16, 64))}") if random.random() < 0.6 else ()
    held = ("--set", "data.heldout=2", "--set", "data.calibration=2")
    call = (*_BUILD, "--data", "./images", *size, *held, "--set", "finetune.batch_size=2")
    return Case(kind="pictures", files={**_recipe_file(), **files}, calls=(call,), note=note)


def _weights(random: Random) -> Case:
    name = random.choice(("weights.pt", "legacy.pt", "weights.safetensors"))
    files = {**_recipe_file(), name: mutate_weights(random, _bytes(name), name)}
    call = (*_BUILD, "--model", "make_corpus:residual", "--checkpoint", name)
    return Case(kind="weights", files=files, calls=(call,), note=name)


KINDS: dict[str, Callable[[Random], Case]] = {
    "graph": _graph,
    "manifest": _manifest,
    "proof": _proof,
    "folder": _folder_of_bundle,
    "damage": _damage,
    "recipe": _recipe,
    "verdict": _verdict,
    "npz": _npz,
    "idx": _idx,
    "pictures": _pictures,
    "weights": _weights,
}
"""What is mutated, by name."""

GROUPS: dict[str, tuple[str, ...]] = {
    "bundles": ("graph",) * 6 + ("manifest", "manifest", "proof") + ("folder", "damage"),
    "inputs": ("recipe", "recipe", "verdict", "npz", "idx", "pictures", "weights"),
}
"""Which kinds take turns."""


def sound_cases() -> list[Case]:
    """Nothing in them is mutated: one of each command."""
    files = {f"bundle/{name}": content for name, content in _folder("conv").items()} | _recipe_file()
    files |= {name: _bytes(name) for name in ("verdict.npz", "weights.pt")}
    calls = (
        ("load", "bundle"),
        ("toolchain", "verify", "bundle", "--images", "8"),
        ("toolchain", "inspect", "bundle"),
        ("toolchain", "replay", "verdict.npz", "bundle"),
        _bench("bundle", "--attack", "fgsm", "--images", "2", "--no-dense"),
        (*_BUILD, "--model", "make_corpus:residual", "--checkpoint", "weights.pt"),
    )
    return [Case(kind="sound", files=files, calls=(call,)) for call in calls]


def kind_of(group: str, index: int) -> str:
    """Which of `KINDS` the mutant of a number is."""
    kinds = GROUPS[group]
    return kinds[index % len(kinds)]


def make_case(group: str, *, seed: int, index: int) -> Case:
    """The mutant of a number, always the same."""
    kind = kind_of(group, index)
    return KINDS[kind](Random(f"{seed} {kind} {index}"))
