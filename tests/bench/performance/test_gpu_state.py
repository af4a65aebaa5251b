"""What NVML tells, with an NVML that has the real one's names only."""

from __future__ import annotations

import importlib
import os
import sys
import types
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.performance.gpu_state import DeviceState, measure_device_memory, read_device
from hardtemper.runtime.errors import InputError, MissingExtraError

MIB = 1 << 20


class RefusedError(Exception):
    pass


def fake_nvml(**changes: Any) -> Any:
    """pynvml with one GPU; a change replaces a function."""
    nvml = types.SimpleNamespace(open=0)

    def opened(change: int) -> None:
        nvml.open += change

    clocks = {1: 1980, 2: 3201}
    nvml.__dict__.update(
        NVMLError=RefusedError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: opened(1),
        nvmlShutdown=lambda: opened(-1),
        nvmlDeviceGetHandleByPciBusId=lambda address: {b"0000:01:00.0": "gpu"}[address],
        nvmlDeviceGetName=lambda handle: "Fake GPU",
        nvmlSystemGetDriverVersion=lambda: b"580.159.03",
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=1000 * MIB, used=300 * MIB, free=700 * MIB),
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [
            types.SimpleNamespace(pid=1, usedGpuMemory=50 * MIB),
            types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=200 * MIB),
        ],
        nvmlDeviceGetClockInfo=lambda handle, domain: clocks[domain],
        nvmlDeviceGetMaxClockInfo=lambda handle, domain: clocks[domain] + 5,
        nvmlDeviceGetTemperature=lambda handle, sensor: 41,
        nvmlDeviceGetPowerUsage=lambda handle: 123456,
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: 0x1 | 0x4 | 0x20,
    )
    nvml.__dict__.update(changes)
    return nvml


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_a_gpu_is_read(nvml: Any) -> None:
    state = read_device("0000:01:00.0")
    assert state == DeviceState(
        name="Fake GPU",
        driver="580.159.03",
        total_mib=1000.0,
        used_mib=300.0,
        process_mib=200.0,
        sm_mhz=1980,
        memory_mhz=3201,
        most_sm_mhz=1985,
        most_memory_mhz=3206,
        temperature_c=41,
        power_w=123.456,
        throttled=("power cap", "temperature, software"),
    )
    assert state.to_dict()["throttled"] == ("power cap", "temperature, software")
    assert nvml.open == 0


def test_what_is_not_told_is_none(nvml: Any) -> None:
    def refuse(*arguments: Any) -> Any:
        raise RefusedError("Not Supported")

    for name in ("PowerUsage", "Temperature", "CurrentClocksEventReasons", "ClockInfo", "MaxClockInfo"):
        setattr(nvml, f"nvmlDeviceGet{name}", refuse)
    nvml.nvmlDeviceGetComputeRunningProcesses = lambda handle: [
        types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)
    ]
    state = read_device("0000:01:00.0")
    assert {state.power_w, state.temperature_c, state.throttled, state.sm_mhz, state.process_mib} == {None}
    assert state.used_mib == 300.0


def test_the_older_name_of_the_reasons(nvml: Any) -> None:
    del nvml.nvmlDeviceGetCurrentClocksEventReasons
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0
    assert read_device("0000:01:00.0").throttled == ()


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise RefusedError("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlInit=refuse))
    with pytest.raises(InputError, match="NVML cannot be initialized; expected: an NVIDIA driver; got: NVML Shared"):
        read_device("0000:01:00.0")
    gone = fake_nvml(nvmlDeviceGetHandleByPciBusId=refuse)
    monkeypatch.setitem(sys.modules, "pynvml", gone)
    with pytest.raises(InputError, match="NVML cannot read the GPU's state; got: NVML Shared"):
        read_device("0000:01:00.0")
    assert gone.open == 0


def test_nvml_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingExtraError, match=r"'nvidia-ml-py', which is not installed; fix: pip install "):
        read_device("0000:01:00.0")


def test_the_fake_has_real_names_only() -> None:
    real = pytest.importorskip("pynvml")
    for name in vars(fake_nvml()):
        assert name == "open" or hasattr(real, name), name
    with pytest.raises(InputError, match="NVML"):
        read_device("ffff:ff:1f.7")


def test_memory_is_told_three_times() -> None:
    used = iter([300.0, 375.5])
    order: list[str] = []

    def read() -> DeviceState:
        order.append("read")
        blank = dict.fromkeys(DeviceState.__slots__)
        return DeviceState(**{**blank, "name": "", "driver": "", "used_mib": next(used), "process_mib": 210.0})  # type: ignore[arg-type]

    class Work:
        def active(self) -> Any:
            return nullcontext()

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: order.append(name)

    def opened() -> Any:
        order.append("open")
        return Work(), lambda: 64 * MIB

    found = measure_device_memory(opened, np.zeros((16, 1, 2, 2), np.uint8), read=read)
    run = ["stage", "upload", "compute", "download", "result"]
    assert order == ["read", "open", *run, *run, "read"]
    measurement = found.measurement()
    assert (measurement.name, measurement.value, measurement.unit) == ("device-memory", 75.5, "MiB")
    assert measurement.settings == {"batch": 16, "process_mib": 210.0, "framework_mib": 64.0}
    assert importlib.import_module("hardtemper.bench.performance.gpu_state").__all__
