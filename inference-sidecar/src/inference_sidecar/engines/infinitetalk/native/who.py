"""Whose token it is: where a token of the video looks in the first latent frame.

Each self-attention also tells how much of every token's attention, on the tokens of the first
latent frame, falls on each person and on the background. A token belongs to where most of it falls,
and hears that person: its query of the voices is turned to the person's range of positions, and the
keys of the two voices to the middle of each range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.native.rope import Rotation, turned

_FIRST: Final = (0.0, 4.0)
_SECOND: Final = (20.0, 24.0)
_NOBODY: Final = 12.0
"""The ranges that upstream was trained with. The background hears both voices alike."""
_EPSILON: Final = 1e-8
_UPSTREAM_PARTS: Final = 2
"""Upstream computes the map for one half of the heads after the other."""

FullAttention = Callable[[Tensor, Tensor, Tensor], Tensor]


def explicit_map(query: Tensor, key: Tensor, masks: Tensor) -> Tensor:
    """The map with upstream's operations in upstream's order, to the bit; stores every score.

    query, key: `[tokens, heads, head_dim]`, rotated. masks: `[classes, tokens of a frame]`, 0 or 1;
    a class without a token gives what is no number. Returns `[classes, tokens]`.
    """
    first = key[: masks.shape[1]]
    total = query.new_zeros(masks.shape[0], query.shape[0])
    for queries, keys in zip(
        query.chunk(_UPSTREAM_PARTS, dim=1), first.chunk(_UPSTREAM_PARTS, dim=1), strict=True
    ):
        scaled = queries.transpose(0, 1) * (1.0 / query.shape[-1] ** 0.5)
        shares = (scaled @ keys.transpose(0, 1).transpose(-2, -1)).softmax(-1)
        parts = [
            ((shares * mask).sum(-1) / mask.sum()).transpose(0, 1).mean(-1)
            for mask in masks.to(query.dtype)
        ]
        total += torch.stack(parts)
    return total / _UPSTREAM_PARTS


def fused_map(query: Tensor, key: Tensor, masks: Tensor, attend: FullAttention) -> Tensor:
    """The same up to rounding, as one attention with the masks as values: no score is stored.

    attend: an exact kernel. Its values have the width of a head, of which the classes are the first
    columns.
    """
    tokens = masks.shape[1]
    values = query.new_zeros(tokens, query.shape[1], query.shape[2])
    values[..., : masks.shape[0]] = masks.T[:, None]
    shares = attend(query[None], key[None, :tokens], values[None])[0, ..., : masks.shape[0]]
    return shares.float().mean(dim=1).T / masks.float().sum(dim=1)[:, None]


def positions_of(found: Tensor, masks: Tensor) -> Tensor:
    """The position of each token's query, `[tokens]`, from a map `[classes, tokens]`.

    Within a person's range it lies where the map lies between its smallest and its largest value.
    A background without a token takes no part: with boxes that cover the whole picture, upstream's
    is no number, wins every token, and nobody is told apart.
    """
    first, second = (_scaled(found[person], ends) for person, ends in enumerate((_FIRST, _SECOND)))
    nobody = torch.full_like(first, _NOBODY)
    is_there = masks.any(dim=1)[:, None]
    most = torch.where(is_there, found, float("-inf")).argmax(dim=0)
    return torch.stack((first, second, nobody)).gather(0, most[None])[0]


def query_turn(found: Tensor, masks: Tensor, head_dim: int) -> Rotation:
    """How the query of each token is turned."""
    return turned(positions_of(found, masks), head_dim)


def key_turn(tokens: int, latent_frames: int, head_dim: int, device: torch.device) -> Rotation:
    """How the keys of both voices are turned; tokens: of both in a latent frame."""
    places = torch.full((latent_frames, tokens), sum(_FIRST) / 2, device=device)
    places[:, tokens // 2 :] = sum(_SECOND) / 2
    return turned(places.flatten(), head_dim)


def _scaled(values: Tensor, ends: tuple[float, float]) -> Tensor:
    least, most = values.min(), values.max()
    start, end = ends
    return (values - least) / (most - least + _EPSILON) * (end - start) + start
