"""What the driver tells of this machine's GPUs, asked once a second in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from inference_sidecar.foundation.contracts import Gpu
from inference_sidecar.foundation.log import Log

_EVERY_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 5.0
"""A driver that hangs tells nothing: what it said before is told for so long."""
_STOP_SECONDS: Final = 1.0
_MEAN_SECONDS: Final = 15.0
_GPUS_MAX: Final = 16
_NAME_CHARACTERS: Final = 100
_UUID_PREFIX: Final = "GPU-"
"""NVML writes it before the UUID, and torch does not."""

Answer = TypeVar("Answer")


class GpuWatch:
    """Ends after one line where there is no driver, or nothing to ask it with.

    NVML runs in the parent: the render process is inside kernels, and may die at any time.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: tuple[float, list[Gpu]] = 0.0, []

    def start(self) -> None:
        """Begins to ask. The thread never holds up the end of the process."""
        self._thread = threading.Thread(target=self._watch, name="gpu-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch. A driver that hangs is left behind after a second."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def gpus(self, uuid: str | None) -> list[Gpu] | None:
        """What was seen last, of the GPU with this UUID alone where it is known.

        NVML ignores `CUDA_VISIBLE_DEVICES`, so without a UUID it is every GPU of the machine. None
        when nothing was seen of late.
        """
        seen_at, gpus = self._seen
        if not gpus or time.monotonic() - seen_at > _STALE_SECONDS:
            return None
        ours = [gpu for gpu in gpus if uuid is not None and _bare(gpu.uuid) == _bare(uuid)]
        return ours or gpus[:_GPUS_MAX]

    def name(self) -> str | None:
        """Of the first GPU that was seen; None before that, and where there is none."""
        gpus = self._seen[1]
        return gpus[0].name if gpus else None

    def _watch(self) -> None:
        # An exception that left this thread would end the process.
        try:
            import pynvml  # noqa: PLC0415 - only an extra, and 10 ms

            nvml: Any = pynvml
            nvml.nvmlInit()
        except Exception as error:  # noqa: BLE001
            self._log.info("no GPU is watched", reason=_reason(error))
            return
        try:
            sampler = GpuSampler(nvml)
            while not self._stopping.wait(_EVERY_SECONDS):
                self._seen = time.monotonic(), sampler.sample()
        except Exception as error:  # noqa: BLE001
            self._log.warning("GPUs are not watched any more", reason=_reason(error))
        finally:
            _supported(nvml, nvml.nvmlShutdown)


class GpuSampler:
    """Asks NVML for everything once. What a GPU does not support is left out."""

    def __init__(self, nvml: Any) -> None:  # noqa: ANN401 - it has no types
        self._nvml = nvml
        self._utilization: dict[str, deque[tuple[float, float]]] = {}
        self._slowing = (
            nvml.nvmlClocksThrottleReasonHwSlowdown
            | nvml.nvmlClocksThrottleReasonSwPowerCap
            | nvml.nvmlClocksThrottleReasonHwThermalSlowdown
            | nvml.nvmlClocksThrottleReasonSwThermalSlowdown
            | nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
        )

    def sample(self) -> list[Gpu]:
        """Every GPU that has a name."""
        count = _supported(self._nvml, self._nvml.nvmlDeviceGetCount) or 0
        gpus = [self._sample_one(index) for index in range(count)]
        return [gpu for gpu in gpus if gpu is not None]

    def _sample_one(self, index: int) -> Gpu | None:
        nvml = self._nvml

        def ask(question: Callable[..., Any], *more: object) -> Any:  # noqa: ANN401
            return _supported(nvml, question, handle, *more)

        handle = _supported(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
        uuid = None if handle is None else ask(nvml.nvmlDeviceGetUUID)
        if uuid is None:
            return None
        used = ask(nvml.nvmlDeviceGetUtilizationRates)
        memory = ask(nvml.nvmlDeviceGetMemoryInfo)
        milliwatts = ask(nvml.nvmlDeviceGetPowerUsage)
        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        celsius = ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        return Gpu(
            index=index,
            name=_text(ask(nvml.nvmlDeviceGetName) or "unknown"),
            uuid=_text(uuid),
            utilization=None if used is None else self._mean(_text(uuid), used.gpu / 100),
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            temperature_celsius=celsius,
            power_watts=None if milliwatts is None else milliwatts / 1000,
            is_throttled=None if reasons is None else bool(reasons & self._slowing),
        )

    def _mean(self, uuid: str, now: float) -> float:
        """Of the last 15 s: a single value is that of the last second or less."""
        seen, at = self._utilization.setdefault(uuid, deque()), time.monotonic()
        seen.append((at, min(1.0, max(0.0, now))))
        while seen[0][0] < at - _MEAN_SECONDS:
            seen.popleft()
        return round(sum(each for _, each in seen) / len(seen), 3)


def _supported(nvml: Any, question: Callable[..., Answer], *about: object) -> Answer | None:  # noqa: ANN401
    """The answer; None where the driver gives an error instead of one."""
    try:
        return question(*about)
    except nvml.NVMLError:
        return None


def _text(name: str | bytes) -> str:
    return (name.decode(errors="replace") if isinstance(name, bytes) else name)[:_NAME_CHARACTERS]


def _bare(uuid: str) -> str:
    return uuid.removeprefix(_UUID_PREFIX).lower()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
