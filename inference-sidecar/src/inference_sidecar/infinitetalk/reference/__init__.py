"""Upstream's own classes behind our protocols: an oracle for tests, a fallback for operators."""
