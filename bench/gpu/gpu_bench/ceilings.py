"""The card's fastest matrix products and attention, from which every floor is derived."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Ceilings:
    """The highest rates measured in this run, in FLOPs per second; empty means unknown.

    is_meaningful: False for tiny shapes, whose time goes to call overhead: they have no floor.
    """

    is_meaningful: bool = True
    matmul: dict[str, float] = field(default_factory=dict[str, float])
    attention: float | None = None

    def floor(self, precision: str, linear: float, attention: float) -> float | None:
        """The least seconds in which this device can do this much arithmetic; None if unknown."""
        rate = self.matmul.get(precision)
        if not self.is_meaningful or rate is None or (attention and self.attention is None):
            return None
        return linear / rate + (attention / self.attention if self.attention else 0.0)

    def note_matmul(self, precision: str, flops: float, fastest_seconds: float) -> None:
        """Records the fastest single run, so that no lucky run beats the floor."""
        rate = flops / fastest_seconds
        self.matmul[precision] = max(rate, self.matmul.get(precision, 0.0))

    def note_attention(self, flops: float, fastest_seconds: float) -> None:
        """See `note_matmul`."""
        self.attention = max(flops / fastest_seconds, self.attention or 0.0)
