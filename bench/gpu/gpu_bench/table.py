"""The result: one row per figure with its floor, and whether any figure beats its floor."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Final

FLOOR_TOLERANCE: Final = 0.98
"""Two clocks and a varying boost clock may differ by 2 %; a figure below that beats its floor."""


@dataclass(frozen=True)
class Row:
    """One figure.

    seconds: every measured time; empty if the figure is not a time or was skipped.
    floor_seconds: arithmetic divided by the ceilings measured in the same run.
    peak_bytes: peak of allocated device memory during the measurement, weights included.
    """

    case: str
    what: str
    seconds: tuple[float, ...] = ()
    floor_seconds: float | None = None
    flops: float | None = None
    peak_bytes: int | None = None
    note: str = ""

    @property
    def median_seconds(self) -> float | None:
        """The median of all times."""
        return median(self.seconds) if self.seconds else None

    @property
    def ratio(self) -> float | None:
        """The median as a multiple of the floor."""
        middle = self.median_seconds
        return middle / self.floor_seconds if middle and self.floor_seconds else None

    @property
    def is_impossible(self) -> bool:
        """Faster than the arithmetic allows, which means that the benchmark is wrong."""
        if not self.seconds or self.floor_seconds is None:
            return False
        return min(self.seconds) < self.floor_seconds * FLOOR_TOLERANCE

    def cells(self) -> tuple[str, ...]:
        """The cells of the table."""
        middle = self.median_seconds
        spread = f"{_time(min(self.seconds))}-{_time(max(self.seconds))}" if self.seconds else ""
        return (
            self.case,
            self.what,
            _time(middle) if middle is not None else "-",
            spread,
            str(len(self.seconds) or ""),
            _time(self.floor_seconds) if self.floor_seconds else "",
            f"{self.ratio:.2f}x" if self.ratio else "",
            f"{self.flops / middle / 1e12:.0f}" if self.flops and middle else "",
            f"{self.peak_bytes / 2**30:.1f}" if self.peak_bytes else "",
            ("IMPOSSIBLE " if self.is_impossible else "") + self.note,
        )


_HEAD: Final = (
    "case", "what", "median", "min-max", "n", "floor", "ratio", "TFLOPS", "peak GiB", "note",
)  # fmt: skip


@dataclass
class Table:
    """Filled while the benchmark runs, so that it can be printed at any moment."""

    facts: dict[str, str] = field(default_factory=dict[str, str])
    rows: list[Row] = field(default_factory=list[Row])

    def add(self, row: Row) -> Row:
        """Appends a row and returns it."""
        self.rows.append(row)
        return row

    def skip(self, case: str, what: str, reason: str) -> None:
        """Appends a row for a figure that was not measured, with the reason."""
        self.add(Row(case, what, note=f"skipped: {reason}"))

    @property
    def impossible(self) -> list[Row]:
        """Rows that beat their floor."""
        return [row for row in self.rows if row.is_impossible]

    def to_markdown(self) -> str:
        """The facts and the table, ready for docs/gpu-performance.md."""
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines = [" | ".join(("", *cells, "")).strip() for cells in (_HEAD, ("---",) * len(_HEAD))]
        lines += [" | ".join(("", *row.cells(), "")).strip() for row in self.rows]
        verdict = [f"WRONG: {row.what} beats its floor." for row in self.impossible]
        return "\n".join([*facts, "", *lines, "", *verdict])

    def to_dict(self) -> dict[str, object]:
        """Everything that was measured, for JSON."""
        return {"facts": self.facts, "rows": [asdict(row) for row in self.rows]}


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
