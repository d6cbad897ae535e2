"""Takes a fused kernel where it runs and is right, and plain torch anywhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)


T = TypeVar("T")


def fused_or(plain: T, fused: Callable[[], T], is_right: Callable[[T], bool], what: str) -> T:
    """What `fused` makes, if it is right by its own results on this device; else `plain`.

    Asked of the device, for no version number says which kernels a build compiles, and whether
    there is a compiler for their launchers. what: for the warning, in the plural.
    """
    try:
        made = fused()
        if is_right(made):
            return made
        reason = "they do not agree with torch's"
    except Exception as error:  # noqa: BLE001 - a compiler may fail in any way, and torch's do too
        reason = f"{type(error).__name__}: {error}"
    _log.warning("%s are not used, rendering takes longer: %s", what, reason)
    return plain


def power_of_two(number: int) -> int:
    """The smallest power of two that is not smaller: kernels count in no other steps."""
    return 1 << (number - 1).bit_length()
