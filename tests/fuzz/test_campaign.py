"""Mutants by number: one number is one mutant, and however files are mutated, each ends in one of hardtemper's errors.

`make fuzz` runs many more, each in a child that may die; here are some of them, what was found and mended before, and
readers that hypothesis may mutate in this process, because it also says which mutation was too much.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from case import Case, Link, Sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import CORPUS, GROUPS, KINDS, kind_of, make_case
from mutate_arrays import mutate_idx, mutate_npz
from mutate_bytes import mutate_bytes
from mutate_json import mutate_tree

from hardtemper.bench.data.idx import parse_idx
from hardtemper.bench.data.npz_file import load_npz
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import HardtemperError
from hardtemper.toolchain.recipe.read import load_recipe, with_overrides

SCRIPT = Path(__file__).with_name("campaign.py")
FOUND = sorted(path.parent for path in (CORPUS / "found").glob("*/case.json"))
FEW = settings(max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
RANDOM = st.randoms(use_true_random=False)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the children are watched through /proc")
def test_mutants_end_well(tmp_path: Path) -> None:
    done = run("--bundles", 220, "--inputs", 140, "--seed", 13, "--kept", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "220 of 220, 0 failed" in done.stdout
    assert "140 of 140, 0 failed" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_what_was_found_before_stays_mended() -> None:
    assert FOUND
    done = run("--again", *FOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == len(FOUND)


@pytest.mark.parametrize("group", GROUPS)
def test_a_number_is_always_the_same_mutant(group: str) -> None:
    seen = set()
    for index in range(len(GROUPS[group])):
        case = make_case(group, seed=3, index=index)
        assert case == make_case(group, seed=3, index=index)
        assert case != make_case(group, seed=4, index=index)
        assert case.kind == kind_of(group, index)
        seen.add(case.kind)
    assert seen == set(GROUPS[group])


def test_every_kind_is_in_a_group() -> None:
    assert {kind for kinds in GROUPS.values() for kind in kinds} == KINDS.keys()


@pytest.mark.parametrize("kind", ["graph", "proof"])
def test_mutants_pass_the_check_of_hashes(kind: str, tmp_path: Path) -> None:
    for number in range(10):
        KINDS[kind](Random(number)).write(tmp_path / str(number))
        read_bundle(tmp_path / str(number) / "bundle")


def test_a_case_that_is_kept_is_read_back(tmp_path: Path) -> None:
    files: dict[str, Any] = {"a/b": b"1", "c": Link("/dev/zero"), "d": Sparse(b"{", 2**40)}
    case = Case(kind="folder", files=files, calls=(("load", "a"), ("toolchain", "inspect", "a")), note="x")
    case.keep(tmp_path / "kept")
    assert Case.read(tmp_path / "kept") == case
    assert all(path.stat().st_size < 1000 for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert not any(path.is_symlink() for path in (tmp_path / "kept").rglob("*"))


@pytest.mark.filterwarnings("default")
@FEW
@given(random=RANDOM)
def test_manifest(random: Any) -> None:
    seed = (CORPUS / random.choice(("conv", "residual", "many")) / "manifest.json").read_bytes()
    content = mutate_bytes(random, seed)
    refuse(lambda: Manifest.from_json(content.decode("utf-8", "replace")))


@FEW
@given(random=RANDOM)
def test_idx(random: Any) -> None:
    content = mutate_idx(random, (CORPUS / "t10k-images-idx3-ubyte").read_bytes())
    if len(content) < 2**16:  # a small file that is a large array is tried in a child
        refuse(lambda: parse_idx(content))


@pytest.mark.parametrize(("name", "read"), [("data.npz", load_npz), ("verdict.npz", read_archive)])
@pytest.mark.filterwarnings("default")
@FEW
@given(random=RANDOM)
def test_arrays(name: str, read: Any, random: Any) -> None:
    content = mutate_npz(random, (CORPUS / name).read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        refuse(lambda: read(path))


@FEW
@given(random=RANDOM)
def test_recipe(random: Any) -> None:
    refuse(lambda: with_overrides(mutate_tree(random, load_recipe("demo")), {}))


def refuse(read: Any) -> None:
    """It is read, or refused in hardtemper's words; anything else comes out."""
    with suppress(HardtemperError):
        read()
