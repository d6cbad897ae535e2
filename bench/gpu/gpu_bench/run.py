"""Runs the benchmark within its time and always ends with the table."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gpu_bench.machine import GpuWatch, machine_facts
from gpu_bench.options import Options, parse_options
from gpu_bench.table import Table

_GRACE_SECONDS: Final = 30.0
"""How far a hanging kernel or compiler may exceed the budget before the guard ends the process."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0, 1 if a section failed, 2 if a figure beats its floor."""
    # As in the engine. CUDA reads this at its first use.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    options = parse_options(arguments)
    table = Table()
    guard = threading.Timer(options.budget_seconds + _GRACE_SECONDS, _end_process, (table, options))
    guard.daemon = True
    guard.start()
    failures: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wheels-") as unpacked:
        if options.wheels is not None:
            _unpack_wheels(options.wheels, Path(unpacked))
        # Imported late: the wheels may contain what these modules import.
        from gpu_bench.plan import run_plan  # noqa: PLC0415

        table.facts.update(machine_facts())
        with GpuWatch() as watch:
            run_plan(options, table, failures, _say)
        table.facts["while it ran"] = watch.summary()
    table.facts["took"] = f"{time.monotonic() - began:.0f} s"
    guard.cancel()
    _finish(table, options)
    for failure in failures:
        sys.stdout.write(f"FAILED: {failure}\n")
    if table.impossible:
        return 2
    return 1 if failures else 0


def _finish(table: Table, options: Options) -> None:
    if options.json is not None:
        options.json.write_text(json.dumps(table.to_dict(), indent=1))
    sys.stdout.write(f"\n{table.to_markdown()}\n")
    sys.stdout.flush()


def _end_process(table: Table, options: Options) -> None:
    """The guard: prints the table as it is and ends the process, because a hung device never
    returns."""
    table.facts["ended"] = "by the guard: a section did not return"
    _finish(table, options)
    os._exit(3)


def _unpack_wheels(folder: Path, into: Path) -> None:
    """Unpacks wheels and puts them behind the installed packages."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"{folder} contains no *.whl.")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
    sys.path.append(str(into))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
