"""The GPU benchmark runs to its end, here with shapes so tiny that its figures mean nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

BENCH = Path(__file__).parents[3] / "bench" / "gpu" / "main.py"


def test_every_section_gives_figures_and_the_table_comes_last(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, str(BENCH), "--tiny", "--device", "cpu", "--json", str(report)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(report.read_text())
    measured = {row["case"] for row in content["rows"] if row["seconds"]}
    assert measured >= {"B0", "B1", "B2", "B3", "B4", "B6", "B7", "B8", "B9"}
    skipped = [row["note"] for row in content["rows"] if row["note"].startswith("skipped")]
    assert all("--upstream" in note for note in skipped)
    assert any(row["note"] == "bit-equal" for row in content["rows"])
    table = [line for line in done.stdout.splitlines() if line]
    assert table[-1].startswith("| ")
    assert len([line for line in table if line.startswith("| B")]) == len(
        [row for row in content["rows"] if row["case"].startswith("B")]
    )


def printed_by(program: str) -> str:
    """What a program prints that may import the benchmark's modules."""
    prepared = f"import sys; sys.path.insert(0, sys.argv[1]);{program}"
    return subprocess.run(
        [sys.executable, "-c", prepared, str(BENCH.parent)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_figure_that_beats_its_floor_is_called_wrong() -> None:
    program = (
        "from gpu_bench.table import Row, Table;"
        "table = Table(); table.add(Row('B3', 'a forward', (1.0, 1.1), 2.0));"
        "table.add(Row('B4', 'another', (2.5,), 2.0));"
        "print([row.what for row in table.impossible]); print(table.to_markdown())"
    )
    printed = printed_by(program)
    assert "['a forward']" in printed
    assert "WRONG: a forward beats its floor." in printed


def test_what_takes_long_is_timed_as_often_as_there_is_time() -> None:
    program = (
        "from gpu_bench.measure import Budget, Device, OutOfTime, measure;"
        "device = Device('cpu'); device.time = lambda work: float(work());"
        "print(len(measure(device, Budget.of(60), lambda: 9).seconds));"
        "print(len(measure(device, Budget.of(15), lambda: 9).seconds));"
        "print(len(measure(device, Budget.of(60), lambda: 0.1).seconds));\n"
        "try: measure(device, Budget.of(8), lambda: 9)\n"
        "except OutOfTime: print('out of time')"
    )
    printed = printed_by(program)
    assert printed.split("\n")[:4] == ["3", "1", "5", "out of time"]


def test_no_two_modules_import_each_other() -> None:
    folder = BENCH.parent / "gpu_bench"
    imports: dict[str, set[str]] = {}
    for path in folder.glob("*.py"):
        nodes = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        ]
        imports[f"gpu_bench.{path.stem}"] = {node.module for node in nodes if node.module}
    assert len(imports) > 10
    # Raises `CycleError`, which names the circle.
    assert list(TopologicalSorter(imports).static_order())
