"""The GPU benchmark, with shapes so tiny that its figures mean nothing."""

from __future__ import annotations

import ast
import importlib
import json
import runpy
import sys
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[3] / "bench" / "gpu" / "main.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of the benchmark."""
    monkeypatch.syspath_prepend(BENCH.parent)
    return lambda name: importlib.import_module(f"gpu_bench.{name}")


def test_every_section_gives_figures_and_the_table_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(
        sys, "argv", [str(BENCH), "--tiny", "--device", "cpu", "--json", str(report)]
    )
    # In this process, which has torch, diffusers and transformers loaded already.
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCH), run_name="__main__")
    stdout, stderr = capsys.readouterr()
    assert ended.value.code == 0, stdout + stderr
    content = json.loads(report.read_text())
    measured = {row["case"] for row in content["rows"] if row["seconds"]}
    assert measured >= {"B0", "B1", "B2", "B3", "B4", "B6", "B7", "B8", "B9"}
    skipped = [row["note"] for row in content["rows"] if row["note"].startswith("skipped")]
    assert all("--upstream" in note for note in skipped)
    assert any(row["note"] == "bit-equal" for row in content["rows"])
    table = [line for line in stdout.splitlines() if line]
    assert table[-1].startswith("| ")
    assert len([line for line in table if line.startswith("| B")]) == len(
        [row for row in content["rows"] if row["case"].startswith("B")]
    )


def test_the_ten_points_have_a_figure_each_or_say_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ["--tiny", "--points", "--device", "cpu", "--json", str(report)]
    monkeypatch.setattr(sys, "argv", [str(BENCH), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCH), run_name="__main__")
    stdout, stderr = capsys.readouterr()
    assert ended.value.code == 0, stdout + stderr
    rows = json.loads(report.read_text())["rows"]
    assert {row["case"] for row in rows} == {"-", *(f"P{point}" for point in range(1, 11))}
    # Nothing streams yet, and a CPU tells no peak of memory.
    unmeasured = {row["case"] for row in rows if row["note"].startswith("skipped")}
    assert unmeasured == {"P2", "P7", "P8"}
    assert {row["note"] for row in rows if row["what"] == "third chunk resumed"} == {"bit-equal"}
    assert {row["note"] for row in rows if row["what"].startswith("attention")} == {"agrees"}
    assert "MET" not in stdout, "the figures of tiny shapes mean nothing"


def test_a_figure_that_beats_its_floor_is_reported_as_wrong(bench: Callable[[str], Any]) -> None:
    module = bench("table")
    table = module.Table()
    table.add(module.Row("B3", "a forward", (1.0, 1.1), 2.0))
    table.add(module.Row("B4", "another", (2.5,), 2.0))
    assert [row.what for row in table.impossible] == ["a forward"]
    assert "WRONG: a forward beats its floor." in table.to_markdown()


def test_a_long_run_is_repeated_as_often_as_the_budget_allows(
    bench: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bench("measure")
    device = module.Device("cpu")
    monkeypatch.setattr(device, "time", lambda run: float(run()))

    def repeats(budget_seconds: float, run_seconds: float) -> int:
        budget = module.Budget.of(budget_seconds)
        return len(module.measure(device, budget, lambda: run_seconds).seconds)

    assert [repeats(60, 9), repeats(15, 9), repeats(60, 0.1)] == [3, 1, 5]
    with pytest.raises(module.OutOfTime):
        repeats(8, 9)


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
