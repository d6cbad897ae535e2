"""Upstream's own transformer behind our protocols: a fallback, and the oracle of the checks."""
