"""Python imports this at its start: the wall clock of the process is CLOCK_AHEAD_SECONDS ahead.

As on a machine whose clock is set wrong. The monotonic clock is left alone.
"""

import os
import time

_ahead = int(os.environ.get("CLOCK_AHEAD_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _ahead
time.time_ns = lambda: _time_ns() + _ahead * 1_000_000_000
