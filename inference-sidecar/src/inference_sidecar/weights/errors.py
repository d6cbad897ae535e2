"""The one error that `weights` shows to people."""

from __future__ import annotations


class WeightsError(Exception):
    """What went wrong and what to do about it, in a sentence or two. Never holds a token."""
