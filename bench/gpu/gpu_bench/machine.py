"""The machine, and the clock, power and temperature of its GPU during the run."""

from __future__ import annotations

import platform
import shutil
import subprocess
import threading
from statistics import median
from typing import Final

import torch

from inference_sidecar.foundation.closed_at_exit import ClosedAtExit

_QUERIES: Final = ("clocks.sm", "power.draw", "temperature.gpu")
_UNITS: Final = ("MHz", "W", "C")


def machine_facts() -> dict[str, str]:
    """Names and versions of hardware and software, without which a figure means nothing."""
    facts = {
        "Python, torch": f"{platform.python_version()}, {torch.__version__}",
        "threads": str(torch.get_num_threads()),
    }
    if not torch.cuda.is_available():
        return {"device": f"CPU ({platform.machine()})", **facts}
    properties = torch.cuda.get_device_properties(0)
    facts = {
        "GPU": f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB, "
        f"compute capability {properties.major}.{properties.minor}",
        "CUDA, cuDNN": f"{torch.version.cuda}, {torch.backends.cudnn.version()}",
        **facts,
    }
    static = _ask("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem")
    if static:
        driver, power, sm, memory = static
        facts["driver"] = driver
        facts["limits"] = f"{power} W, SM {sm} MHz, memory {memory} MHz"
    return facts


class GpuWatch(ClosedAtExit):
    """Samples clock, power and temperature once a second until it is closed."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, ...]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the sampling."""
        self._ended.set()
        self._thread.join(5)

    def summary(self) -> str:
        """Medians, and the lowest clock, which shows throttling."""
        if not self._samples:
            return "not sampled"
        columns = list(zip(*self._samples, strict=True))
        middles = [
            f"{median(values):.0f} {unit}" for values, unit in zip(columns, _UNITS, strict=True)
        ]
        return f"{', '.join(middles)} (lowest clock {min(columns[0]):.0f} MHz)"

    def _watch(self) -> None:
        while not self._ended.wait(1):
            answer = _ask(*_QUERIES)
            if answer is None:
                return
            try:
                self._samples.append(tuple(map(float, answer)))
            except ValueError:
                return


def _ask(*queries: str) -> list[str] | None:
    """Answers of nvidia-smi about the first GPU; None if it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, f"--query-gpu={','.join(queries)}", "--format=csv,noheader,nounits", "--id=0"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    answers = [cell.strip() for cell in done.stdout.strip().split(",")]
    return answers if done.returncode == 0 and len(answers) == len(queries) else None
