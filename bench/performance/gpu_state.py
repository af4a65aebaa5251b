"""What a GPU says of itself: memory, clocks, throttling. Read through NVML, never changed.

Rule: memory is told three times, because no figure is the whole: what the device had in use before and after (every
process on it counts), what this process has by NVML (with the CUDA context and loaded kernels; some virtual machines do
not tell), and what the framework says that it took. Clocks are noted as they are found: a number measured while the
device held its clocks down is another number.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, MissingExtraError
from ..measurement import Measurement, measured
from .gpu_latency import DeviceWork

__all__ = ["DeviceMemory", "DeviceState", "measure_device_memory", "read_device"]

_Value = TypeVar("_Value")

_MIB = 1 << 20
_REASONS = {
    0x2: "applications' clocks setting",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "temperature, software",
    0x40: "temperature, hardware",
    0x80: "power brake",
    0x100: "display clocks setting",
    0x200: "board limit",
    0x400: "reliability",
}
"""NVML's bits; 0x1 is an idle GPU, which is no throttling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceState:
    """A GPU at one moment; None where it does not tell.

    Attributes:
        name: the product's.
        driver: the driver's version.
        total_mib, used_mib: device memory, all of it and what anybody uses.
        process_mib: what this process uses.
        sm_mhz, memory_mhz: clocks.
        most_sm_mhz, most_memory_mhz: the highest that they go.
        temperature_c: degrees Celsius.
        power_w: watts.
        throttled: what holds the clocks down; empty where nothing does.
    """

    name: str
    driver: str
    total_mib: float
    used_mib: float
    process_mib: float | None
    sm_mhz: int | None
    memory_mhz: int | None
    most_sm_mhz: int | None
    most_memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    throttled: tuple[str, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """Device memory that opening and running one engine took, in MiB.

    Attributes:
        batch: images a call.
        added_mib: device memory in use, after less before.
        process_mib: what this process has, by NVML; None where it does not tell.
        framework_mib: what the framework says that it took.
    """

    batch: int
    added_mib: float
    process_mib: float | None
    framework_mib: float

    def measurement(self) -> Measurement:
        """What was added, with the other figures among its settings."""
        return measured(
            "device-memory",
            self.added_mib,
            n=1,
            settings={"batch": self.batch, "process_mib": self.process_mib, "framework_mib": self.framework_mib},
        )


def read_device(pci_bus_id: str) -> DeviceState:
    """The state of a GPU now.

    Args:
        pci_bus_id: "0000:01:00.0", as `cuda.driver.find_gpu` gives it; NVML counts GPUs otherwise than CUDA does.

    Raises:
        MissingExtraError: nvidia-ml-py is not installed.
        InputError: NVML does not know the GPU, or is not there.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        raise MissingExtraError("nvidia-ml-py", extra="tensorrt", feature="reading the GPU's state") from None
    with _session(nvml):
        device = nvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id.encode())
        memory = nvml.nvmlDeviceGetMemoryInfo(device)

        def told(ask: Callable[..., _Value], *arguments: Any) -> _Value | None:
            try:
                return ask(device, *arguments)
            except nvml.NVMLError:  # not every GPU, nor every user, is told everything
                return None

        sm, mem = nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_MEM
        reasons = told(
            getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
            or nvml.nvmlDeviceGetCurrentClocksThrottleReasons  # its name before nvidia-ml-py 12.535
        )
        power = told(nvml.nvmlDeviceGetPowerUsage)
        return DeviceState(
            name=_text(nvml.nvmlDeviceGetName(device)),
            driver=_text(nvml.nvmlSystemGetDriverVersion()),
            total_mib=memory.total / _MIB,
            used_mib=memory.used / _MIB,
            process_mib=_of_process(told(nvml.nvmlDeviceGetComputeRunningProcesses)),
            sm_mhz=told(nvml.nvmlDeviceGetClockInfo, sm),
            memory_mhz=told(nvml.nvmlDeviceGetClockInfo, mem),
            most_sm_mhz=told(nvml.nvmlDeviceGetMaxClockInfo, sm),
            most_memory_mhz=told(nvml.nvmlDeviceGetMaxClockInfo, mem),
            temperature_c=told(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1000,
            throttled=None if reasons is None else tuple(text for bit, text in _REASONS.items() if reasons & bit),
        )


def measure_device_memory(
    opened: Callable[[], tuple[DeviceWork, Callable[[], int]]],
    images: NDArray[np.uint8],
    *,
    read: Callable[[], DeviceState],
) -> DeviceMemory:
    """Open an engine, run one batch twice and see what device memory that took.

    The figure by difference is right only where nobody else uses the device meanwhile.

    Args:
        opened: opens the engine; gives its work and what tells the bytes that the framework took.
        images: uint8 [N, C, H, W], one batch.
        read: the device's state, `read_device` on its PCI address.

    Raises:
        ModelError: the engine failed.
    """
    before = read()
    work, taken = opened()
    for _ in range(2):
        with work.active():
            work.stage(images)
            work.upload()
            work.compute()
            work.download()
            work.result()
    after = read()
    return DeviceMemory(
        batch=len(images),
        added_mib=after.used_mib - before.used_mib,
        process_mib=after.process_mib,
        framework_mib=taken() / _MIB,
    )


@contextmanager
def _session(nvml: Any) -> Iterator[None]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise InputError("NVML cannot be initialized", expected="an NVIDIA driver", got=str(error)) from None
    try:
        yield
    except nvml.NVMLError as error:
        raise InputError("NVML cannot read the GPU's state", got=str(error)) from None
    finally:
        nvml.nvmlShutdown()


def _of_process(processes: Any) -> float | None:
    mine = [process.usedGpuMemory for process in processes or () if process.pid == os.getpid()]
    return None if not mine or mine[0] is None else mine[0] / _MIB


def _text(value: str | bytes) -> str:
    # nvidia-ml-py gave bytes before version 12
    return value.decode() if isinstance(value, bytes) else value
