"""Chooses a fused kernel where it runs and computes the right values, and plain torch elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)


T = TypeVar("T")


def fused_or(plain: T, fused: Callable[[], T], is_right: Callable[[T], bool], what: str) -> T:
    """The result of `fused` if `is_right` accepts it on this device, otherwise `plain`.

    The kernel is tried on the device, because no version number tells which kernels a build
    compiles, or whether a compiler for their launchers is installed. what: names the kernels in the
    warning, in the plural.
    """
    try:
        made = fused()
        if is_right(made):
            return made
        reason = "they disagree with torch's"
    except Exception as error:  # noqa: BLE001 - compilers raise errors of any kind
        reason = f"{type(error).__name__}: {error}"
    _log.warning("%s are not used, rendering takes longer: %s", what, reason)
    return plain


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`: block sizes of kernels are powers of
    two."""
    return 1 << (number - 1).bit_length()
