"""What one order is told about time and progress while an engine renders it."""

from __future__ import annotations

import socket
import time

import pytest

from inference_sidecar.rendering.order_control import OrderControl
from inference_sidecar.rendering.render_protocol import CHILD_LINES, Lines, StartedLine

HOUR = 3600


@pytest.mark.parametrize("hours", [7, -7])
def test_a_clock_that_is_set_during_a_render_does_not_change_how_long_it_took(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    lines = Lines(ours.detach())
    with theirs, theirs.makefile("rb") as sent:
        control = OrderControl(lines, 1)
        control.check()
        began_ms = control.now_ms()
        set_to = time.time_ns() + hours * HOUR * 1_000_000_000
        monkeypatch.setattr(time, "time_ns", lambda: set_to)
        monkeypatch.setattr(time, "time", lambda: set_to / 1e9)
        assert 0 <= control.now_ms() - began_ms < 60_000
        started = CHILD_LINES.validate_json(sent.readline())
        assert isinstance(started, StartedLine)
        assert started.at_ms == control.started_at_ms
    lines.close()
