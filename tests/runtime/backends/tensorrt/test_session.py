"""One thread's context, stream, buffers and captured kernels, on the device of `fake_gpu.py`."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.backends.tensorrt.package import last_error
from hardtemper.runtime.backends.tensorrt.session import GraphWarning
from hardtemper.runtime.errors import ModelError

CLASSES = 10


def test_each_thread_has_a_context_of_its_own(classifier: Any, opened: Any, release: str, pixels: Any) -> None:
    backend, trt, cuda, _ = opened(profiles=[(1, 8, 32)])
    barrier = threading.Barrier(4)

    def work(seed: int) -> bool:
        barrier.wait()
        pieces = [pixels(count, seed) for count in (1, 32, 5, 5, 5, 40)]
        return all((backend.run(images) == classifier.logits(images)).all() for images in pieces)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert sum(engine.made for engine in trt.engines) == 5  # four threads and the one that opened it
    # 8.5 refuses a profile that another context of the engine has: there each thread has an engine too
    assert len(trt.engines) == (5 if release.startswith("8.") else 1)
    gc.collect()
    assert cuda.live == 2  # the threads are gone, and with them all but this thread's context and stream


def test_nothing_stays_on_the_device(classifier: Any, opened: Any, pixels: Any) -> None:
    backend, _, cuda, capture = opened()
    for _ in range(3):
        backend.run(pixels(3))
    assert cuda.live == 6  # context, stream, two buffers on either side
    del backend
    gc.collect()
    assert (cuda.live, cuda.used) == (0, 0)
    assert capture.log[-1] == "free 1"


def test_graphs_are_captured_at_the_second_run_of_a_shape(classifier: Any, opened: Any, pixels: Any) -> None:
    backend, _, _, capture = opened()
    seen = []
    for count in (3, 3, 3, 2, 2, 3, 20, 20, 3):
        images = pixels(count, len(seen))
        np.testing.assert_array_equal(backend.run(images), classifier.logits(images))
        seen.append(list(capture.log))
        capture.log.clear()
    assert seen == [
        [],
        ["capture 1", "launch 1"],
        ["launch 1"],
        ["free 1"],  # another shape: the graph is worth nothing
        ["capture 2", "launch 2"],
        ["free 2"],
        [],
        ["capture 3", "launch 3"],
        ["free 3"],
    ]


def test_work_that_cannot_be_captured_runs_all_the_same(classifier: Any, opened: Any, gpu: Any, pixels: Any) -> None:
    backend, _, _, _ = opened(capture=gpu.Capture(refuse=True))
    images = pixels(3)
    backend.run(images)
    with pytest.warns(GraphWarning, match=r"net\.engine: no CUDA graph: .*CAPTURE_INVALIDATED"):
        np.testing.assert_array_equal(backend.run(images), classifier.logits(images))
    np.testing.assert_array_equal(backend.run(images), classifier.logits(images))  # and says so once
    assert not backend.session().captured


def test_no_room_names_the_profile(classifier: Any, opened: Any, gpu: Any, pixels: Any) -> None:
    room = 4 * (64 + 4 * CLASSES)
    backend, _, cuda, _ = opened(cuda=gpu.FakeCuda(capacity=room + 100))
    small = pixels(4)
    np.testing.assert_array_equal(backend.run(small), classifier.logits(small))
    with pytest.raises(ModelError) as caught:
        backend.run(pixels(64))
    assert str(caught.value).startswith("net.engine: out of device memory in profile 0 (batches of 16 to 64); ")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(backend.run(small), classifier.logits(small))  # what fits still runs
    assert cuda.used == room


def test_what_cannot_run_is_one_line(classifier: Any, opened: Any, pixels: Any) -> None:
    backend, *_ = opened(enqueue=False)
    with pytest.raises(ModelError) as caught:
        backend.run(pixels(3))
    assert str(caught.value) == (
        "net.engine: TensorRT cannot run a batch of 3 in profile 1 (batches of 1 to 4); got: out of memory"
    )
    assert last_error() == "nothing said"


def test_events_mark_the_steps(classifier: Any, opened: Any, pixels: Any) -> None:
    backend, _, cuda, _ = opened()
    session = backend.session()
    with session.active():
        before = cuda.live
        marks = [session.new_mark() for _ in range(4)]
        session.stage(pixels(2))
        session.record(marks[0])
        for step, mark in zip((session.upload, session.compute, session.download), marks[1:], strict=True):
            step()
            session.record(mark)
        np.testing.assert_array_equal(session.result(), classifier.logits(pixels(2)))
        assert session.elapsed_ms(marks[0], marks[3]) == 3.0
        assert session.buffer_bytes == 4 * (64 + 4 * CLASSES)
        for mark in marks:
            session.drop(mark)
        assert cuda.live == before + 4  # the buffers
