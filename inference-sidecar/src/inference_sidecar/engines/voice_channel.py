"""Decides which channel of a recording carries the voice: one rule for all engines.

The mean of the channels is the rule, and what upstream's code takes. It fails where the channels
cancel each other (one of them inverted), and where noise on one drowns the voice on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating[Any]]

_STEPS_PER_SECOND: Final = 50
_CLICK_STEPS: Final = 3
"""Steps that a click may fill. They do not count as the loudest of a recording."""
_SOUNDING_DB: Final = 30.0
"""Below the loudest step; anything quieter is a pause."""
_CANCELLED_DB: Final = 9.0
"""How far the mean is below the strongest channel where they cancel. With silence on one of two
channels it is 6 dB below, and as good as the other one."""
_CANCELLED_SHARE: Final = 0.1
_STEADY_DB: Final = 10.0
"""Between its pauses and its loud steps, noise varies by less. A voice varies by more."""
_DROWNED_DB: Final = 10.0
_FLOOR: Final = 1e-12
_TRACKS_OF_MONO: Final = 2
"""The channel and the mean."""


def choose_channel(blocks: Iterable[Samples], rate: int) -> int | None:
    """The channel that carries the voice, None for the mean of all channels.

    blocks: consecutive samples `[n, channels]`, full scale being 1.
    """
    powers = list(_powers(blocks, rate))
    if not powers or powers[0].shape[1] <= _TRACKS_OF_MONO:
        return None
    power = np.concatenate(powers)
    if len(power) == 0:
        return None
    return _uncancelled(power) if _is_cancelled(power) else _undrowned(power)


def to_mono(samples: Samples, channel: int | None) -> Samples:
    """One channel of `[n, channels]`, or the mean of all."""
    return samples.mean(axis=1, dtype=samples.dtype) if channel is None else samples[:, channel]


def _powers(blocks: Iterable[Samples], rate: int) -> Iterator[NDArray[np.float64]]:
    """Power of each channel and, last, of their mean: `[steps, channels + 1]` per block.

    Of the differences between neighbours: an offset and most of a hum vanish in them.
    """
    hop = max(2, rate // _STEPS_PER_SECOND)
    pending: Samples | None = None
    for block in blocks:
        samples = block if pending is None else np.concatenate([pending, block])
        steps = len(samples) // hop
        pending = samples[steps * hop :]
        cut = samples[: steps * hop].reshape(steps, hop, samples.shape[1]).astype(np.float64)
        tracks = np.concatenate([cut, cut.mean(axis=2, keepdims=True)], axis=2)
        yield np.square(np.diff(tracks, axis=1)).mean(axis=1)


def _is_cancelled(power: NDArray[np.float64]) -> bool:
    sounding, strongest = _sounding(power)
    cancelled = power[:, -1] < strongest * 10 ** (-_CANCELLED_DB / 10)
    return bool((cancelled & sounding).sum() > _CANCELLED_SHARE * sounding.sum())


def _uncancelled(power: NDArray[np.float64]) -> int:
    """The strongest channel while anything is heard."""
    sounding, _ = _sounding(power)
    return int(power[sounding, :-1].sum(axis=0).argmax())


def _sounding(power: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether a channel is heard in each step, and the power of the strongest."""
    strongest = power[:, :-1].max(axis=1)
    loudest = np.sort(strongest)[-min(_CLICK_STEPS + 1, len(strongest))]
    return strongest > max(loudest * 10 ** (-_SOUNDING_DB / 10), _FLOOR), strongest


def _undrowned(power: NDArray[np.float64]) -> int | None:
    """The one channel with a voice, where steady noise on all others drowns it in the mean."""
    decibels = 10 * np.log10(np.maximum(power, _FLOOR))
    pauses, loud = np.percentile(decibels, [10, 95], axis=0)
    contrast = loud - pauses
    voice = int(contrast[:-1].argmax())
    others = np.delete(contrast[:-1], voice)
    is_drowned = contrast[-1] < contrast[voice] - _DROWNED_DB
    return voice if is_drowned and (others < _STEADY_DB).all() else None
