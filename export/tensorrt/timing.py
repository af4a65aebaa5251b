"""How long an engine takes on this machine's GPU: what a choice of placement goes by.

Kernels alone, between two CUDA events on the stream, without copies; after a warm-up that captures the CUDA graph. The
median of the rounds.
"""

from __future__ import annotations

import statistics

import numpy as np

from ...runtime.backends.tensorrt.backend import TensorRTBackend

__all__ = ["kernel_milliseconds"]


def kernel_milliseconds(backend: TensorRTBackend, batch: int, *, warmup: int = 20, rounds: int = 100) -> float:
    """The median time of the kernels for one batch of black images, in ms.

    Args:
        backend: the engine.
        batch: images, as many as one of its profiles takes.
        warmup, rounds: untimed and timed runs.
    """
    session = backend.session()
    times = []
    with session.active():
        session.stage(np.zeros((batch, *backend.input_shape), backend.input_dtype))
        session.upload()
        for _ in range(warmup):
            session.compute()
        start, end = session.new_mark(), session.new_mark()
        for _ in range(rounds):
            session.record(start)
            session.compute()
            session.record(end)
            session.download()
            session.result()  # waits
            times.append(session.elapsed_ms(start, end))
        session.drop(start)
        session.drop(end)
    return statistics.median(times)
