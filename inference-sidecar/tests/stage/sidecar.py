"""The sidecar as a process, and the files and processes that it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from stage.broker import PASSWORD
from stage.until import PATIENCE_SECONDS, until

DIVISOR = 10


class Sidecar:
    """The folder of one worker and its process, which may be started again after its end."""

    def __init__(self, directory: Path, nats_url: str, worker_id: str = "w1") -> None:
        self.directory = directory
        self.spool_dir = directory / "spool"
        self.worker_id = worker_id
        self._log_file = directory / "log.jsonl"
        self._error_file = directory / "stderr.txt"
        self._log_from = 0
        self._environment = {
            "NATS_URL": nats_url,
            "NATS_PASSWORD": PASSWORD,
            "ENGINE": "null",
            "WORKER_ID": worker_id,
            "SPOOL_DIR": str(self.spool_dir),
            "LOG_LEVEL": "debug",
            "TIMINGS_DIVISOR": str(DIVISOR),
            # Overrides the environment: compiling at each start takes longer than most tests.
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, **environment: str) -> None:
        with self._log_file.open("ab") as log, self._error_file.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "inference_sidecar"],
                env={**os.environ, **self._environment, **environment},
                stdout=log,
                stderr=errors,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit status, once it is gone."""
        process = self.process
        assert process is not None
        await until(lambda: process.poll() is not None, "end of the sidecar", timeout_seconds)
        assert process.returncode is not None
        return process.returncode

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    @contextlib.contextmanager
    def suspended(self) -> Generator[None]:
        """Freezes all of its processes, as on a machine that sleeps."""
        processes = [pid for pid, _ in self.processes()]
        for pid in processes:
            # One of them may have been about to end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def log(self) -> list[dict[str, Any]]:
        """The lines since the start, or since `forget_log`."""
        if not self._log_file.exists():
            return []
        content = self._log_file.read_bytes()[self._log_from :]
        # The last line may be half written.
        return [json.loads(line) for line in content.split(b"\n")[:-1]]

    def forget_log(self) -> None:
        """Lets `log` begin with the next line."""
        self._log_from = self._log_file.stat().st_size if self._log_file.exists() else 0

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log_text(self) -> str:
        return self._log_file.read_text() + self._error_file.read_text()

    def messages(self) -> list[str]:
        return [line["msg"] for line in self.log()]

    def render_process(self) -> int | None:
        """The process id of the render process, if there is one."""
        return next((pid for pid, line in self.processes() if "render_child" in line), None)

    def processes(self) -> list[tuple[int, str]]:
        """Every running process that was started with this worker's folder in its environment."""
        mark = f"SPOOL_DIR={self.spool_dir}".encode()
        found: list[tuple[int, str]] = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if mark in (folder / "environ").read_bytes():
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append((int(folder.name), line))
            except OSError:
                continue
        return found

    def spooled(self) -> list[str]:
        """The ids of the spooled jobs."""
        folder = self.spool_dir / "renders"
        return (
            [each.name for each in folder.iterdir() if not each.suffix] if folder.exists() else []
        )

    def work_folders(self) -> list[str]:
        """The folders of unfinished attempts."""
        folder = self.spool_dir / "work"
        return [each.name for each in folder.iterdir()] if folder.exists() else []

    async def close(self) -> None:
        """Ends the process in whatever state it is, and checks that nothing of it is left."""
        if self.is_running():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                await self.ended(10)
            except AssertionError:
                self.signal(signal.SIGKILL)
                await self.ended()
                raise
        await until(lambda: not self.processes(), "end of every process of the sidecar")
