"""Upstream's transformer behind our protocols: an operator's fallback, and the reference of the
checks."""
