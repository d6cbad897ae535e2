"""What the driver tells of GPUs, from a module that answers and fails as NVIDIA's own does."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from inference_sidecar.foundation.log import configure_log
from inference_sidecar.telemetry.gpu_watch import GpuSampler, GpuWatch
from stage.until import until

UUIDS = ("GPU-aaaaaaaa-0000-0000-0000-000000000000", "GPU-bbbbbbbb-0000-0000-0000-000000000000")


class Driver:
    """`pynvml` with two GPUs. lacks: questions that the second one does not support."""

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.utilization = 100
        self.reasons = 0
        self.is_hanging = threading.Event()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        # Constants and errors are the real ones, so a wrong name fails here too.
        real = getattr(pynvml, name)
        if not name.startswith("nvmlDevice") and name not in {"nvmlInit", "nvmlShutdown"}:
            return real

        def answer(*about: Any) -> Any:
            index = about[0] if about else None
            if name in self.lacks and index == 1:
                raise pynvml.NVMLError_NotSupported
            return self._answers(index)[name]

        return answer

    def _answers(self, index: int | None) -> dict[str, Any]:
        self.asked += 1
        while self.is_hanging.is_set():
            time.sleep(0.01)
        return {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": index,
            "nvmlDeviceGetUUID": UUIDS[index or 0],
            "nvmlDeviceGetName": "NVIDIA H200",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=self.utilization, memory=3),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5 << 30, total=140 << 30),
            "nvmlDeviceGetPowerUsage": 431_250,
            "nvmlDeviceGetCurrentClocksThrottleReasons": self.reasons,
            "nvmlDeviceGetTemperature": 61,
        }


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_a_gpu_tells_everything_in_the_units_of_the_contracts(driver: Driver) -> None:
    first, second = GpuSampler(driver).sample()
    assert json.loads(first.to_json()) == {
        "index": 0,
        "name": "NVIDIA H200",
        "uuid": UUIDS[0],
        "utilization": 1,
        "memoryUsedBytes": 5 << 30,
        "memoryTotalBytes": 140 << 30,
        "temperatureCelsius": 61,
        "powerWatts": 431.25,
        "isThrottled": False,
    }
    assert (second.index, second.uuid) == (1, UUIDS[1])


def test_what_a_gpu_does_not_support_is_left_out(driver: Driver) -> None:
    driver.lacks = {
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    }
    first, second = GpuSampler(driver).sample()
    assert {"utilization", "powerWatts", "isThrottled"} <= {*json.loads(first.to_json())}
    assert {*json.loads(second.to_json())} == {
        *("index", "name", "uuid", "memoryUsedBytes", "memoryTotalBytes", "temperatureCelsius")
    }


def test_a_gpu_that_has_fallen_off_the_bus_is_not_told(driver: Driver) -> None:
    driver.lacks = {"nvmlDeviceGetHandleByIndex"}
    assert [gpu.index for gpu in GpuSampler(driver).sample()] == [0]


@pytest.mark.parametrize(
    ("reason", "is_throttled"),
    [
        ("nvmlClocksThrottleReasonGpuIdle", False),
        ("nvmlClocksThrottleReasonSwPowerCap", True),
        ("nvmlClocksThrottleReasonHwThermalSlowdown", True),
    ],
)
def test_heat_and_power_throttle_and_idling_does_not(
    driver: Driver, reason: str, *, is_throttled: bool
) -> None:
    driver.reasons = getattr(pynvml, reason)
    assert GpuSampler(driver).sample()[0].is_throttled is is_throttled


def test_utilization_is_the_mean_of_the_last_fifteen_seconds(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sampler = GpuSampler(driver)
    told: list[float | None] = []
    for second in range(30):
        driver.utilization = 100 if second < 10 else 0
        told.append(sampler.sample()[0].utilization)
        now += 1
    assert told[0] == told[9] == 1
    assert told[15] == pytest.approx(10 / 16, abs=0.001)
    assert told[29] == 0


async def test_only_the_gpu_of_the_render_process_is_told_where_it_is_known(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    watch = GpuWatch(configure_log("silent"))
    watch.start()
    await until(lambda: watch.gpus(None), "a sample")

    assert [gpu.index for gpu in watch.gpus(None) or []] == [0, 1]
    assert [gpu.index for gpu in watch.gpus(UUIDS[1]) or []] == [1]
    as_torch_says = UUIDS[1].removeprefix("GPU-")
    assert [gpu.index for gpu in watch.gpus(as_torch_says) or []] == [1]
    watch.stop()
    asked = driver.asked
    assert watch._thread is not None
    assert not watch._thread.is_alive()
    assert driver.asked == asked


async def test_a_driver_that_hangs_tells_nothing_and_holds_nothing_up(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr("inference_sidecar.telemetry.gpu_watch._STALE_SECONDS", 0.2)
    monkeypatch.setattr("inference_sidecar.telemetry.gpu_watch._EVERY_SECONDS", 0.01)
    watch = GpuWatch(configure_log("silent"))
    watch.start()
    await until(lambda: watch.gpus(None), "a sample")
    driver.is_hanging.set()
    await until(lambda: watch.gpus(None) is None, "silence")
    watch.stop()
    driver.is_hanging.clear()


@pytest.mark.parametrize("is_installed", [True, False])
async def test_without_a_driver_the_watch_ends_after_one_line(
    monkeypatch: pytest.MonkeyPatch, *, is_installed: bool
) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    # The real module; its own call, so that the test also holds on a machine with a GPU.
    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    if not is_installed:
        monkeypatch.setitem(sys.modules, "pynvml", None)
    lines = io.StringIO()
    watch = GpuWatch(configure_log("debug", lines))
    watch.start()
    assert watch._thread is not None
    watch._thread.join(10)

    assert not watch._thread.is_alive()
    assert watch.gpus(None) is None
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert (line["level"], line["msg"]) == ("info", "no GPU is watched")
    assert ("LibraryNotFound" in line["reason"]) is is_installed
    watch.stop()
