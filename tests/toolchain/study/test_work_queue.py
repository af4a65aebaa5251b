"""Items are done once, in their order, whoever else works on them and whoever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hardtemper.toolchain.study.work_queue import WorkItem, work_off

WORKER = """
import os, sys, time
from pathlib import Path
from hardtemper.toolchain.study.work_queue import WorkItem, work_off

folder, hang = Path(sys.argv[1]), sys.argv[2] == "hang"

def item(number):
    path = folder / f"{number}.done"
    def work():
        with open(folder / "log", "a") as log:
            log.write(f"{number} {os.getpid()}\\n")
        if hang:
            print("working", flush=True)
            time.sleep(600)
        time.sleep(0.05)
        path.write_text("")
    return WorkItem(name=str(number), finished=path.exists, work=work)

print("ready", flush=True)
sys.stdin.readline()
work_off([item(number) for number in range(12)], folder / "locks", poll_seconds=0.05)
"""


def worker(folder: Path, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(folder), kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def recording(folder: Path, done: list[str]) -> Callable[..., WorkItem]:
    def make(name: str, *needs: str) -> WorkItem:
        path = folder / name

        def work() -> None:
            done.append(name)
            path.write_text("")

        return WorkItem(name=name, needs=needs, finished=path.exists, work=work)

    return make


def test_order_and_what_is_finished(tmp_path: Path) -> None:
    done: list[str] = []
    item = recording(tmp_path, done)
    (tmp_path / "b").write_text("")
    work_off([item("c", "a"), item("b"), item("a", "b")], tmp_path / "locks")
    assert done == ["a", "c"]
    work_off([item("a"), item("c")], tmp_path / "locks")
    assert done == ["a", "c"]


def test_two_processes_do_no_item_twice(tmp_path: Path) -> None:
    processes = [worker(tmp_path, "work") for _ in range(2)]
    for process in processes:
        start(process)
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(int(number) for number, _ in lines) == list(range(12))
    assert {pid for _, pid in lines} == {str(process.pid) for process in processes}
    for process in processes:
        process.communicate()


def test_what_a_killed_process_held_is_taken_over(tmp_path: Path) -> None:
    process = worker(tmp_path, "hang")
    start(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    done: list[str] = []
    item = recording(tmp_path, done)
    held, free = item("0"), item("other")
    slept: list[float] = []

    def kill(_: float) -> None:
        slept.append(1.0)
        assert done == ["other"]  # not the one that the living process holds
        process.send_signal(signal.SIGKILL)
        process.communicate()

    original, time.sleep = time.sleep, kill
    try:
        work_off([held, free], tmp_path / "locks")
    finally:
        time.sleep = original
    assert done == ["other", "0"]
    assert slept == [1.0]
    assert (tmp_path / "locks" / "0.lock").exists()  # the file holds nothing
