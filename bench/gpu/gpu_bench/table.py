"""The result: one row per figure, with its floor, and whether any figure is too good to be true."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Final

FLOOR_TOLERANCE: Final = 0.98
"""Two clocks and a boost that ebbs may differ by this much; beyond it the floor was beaten."""


@dataclass(frozen=True)
class Row:
    """One figure.

    seconds: every measured time; empty where the figure is no time or was skipped.
    floor_seconds: arithmetic divided by the ceilings measured in this very run.
    peak_bytes: most device memory in use meanwhile, weights included.
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
        """The middle of all times."""
        return median(self.seconds) if self.seconds else None

    @property
    def ratio(self) -> float | None:
        """How many times the floor the median is."""
        middle = self.median_seconds
        return middle / self.floor_seconds if middle and self.floor_seconds else None

    @property
    def is_impossible(self) -> bool:
        """Faster than arithmetic allows: then not the code is good but the benchmark wrong."""
        if not self.seconds or self.floor_seconds is None:
            return False
        return min(self.seconds) < self.floor_seconds * FLOOR_TOLERANCE

    def cells(self) -> tuple[str, ...]:
        """As the table shows them."""
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
    """Grows while the benchmark runs, so that whatever ends it can still print it."""

    facts: dict[str, str] = field(default_factory=dict[str, str])
    rows: list[Row] = field(default_factory=list[Row])

    def add(self, row: Row) -> Row:
        """Keeps a row."""
        self.rows.append(row)
        return row

    def skip(self, case: str, what: str, reason: str) -> None:
        """A figure that is not there, and why."""
        self.add(Row(case, what, note=f"skipped: {reason}"))

    @property
    def impossible(self) -> list[Row]:
        """Rows that beat their floor."""
        return [row for row in self.rows if row.is_impossible]

    def to_markdown(self) -> str:
        """Facts, then the table; ready for docs/gpu-performance.md."""
        facts = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines = [" | ".join(("", *cells, "")).strip() for cells in (_HEAD, ("---",) * len(_HEAD))]
        lines += [" | ".join(("", *row.cells(), "")).strip() for row in self.rows]
        verdict = [f"WRONG: {row.what} beats its floor." for row in self.impossible]
        return "\n".join([*facts, "", *lines, "", *verdict])

    def to_dict(self) -> dict[str, object]:
        """All that was measured, for a machine to read."""
        return {"facts": self.facts, "rows": [asdict(row) for row in self.rows]}


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
