"""Holds a fast kernel for attention against an exact one, on this device and at the real sizes.

SageAttention computes in 8 bits. In public use its kernel for Hopper gave noise, or values that are
no numbers, at some sizes and passed a test at another. So every number of tokens that can be asked
for is tried, most of which are no multiple of a kernel's block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`[batch, tokens, heads, head_dim]` each → the shape of the query."""

_OTHER_KEYS: Final = (512, 257, 64, 32)
"""Of the prompt, the portrait, and the voice of one latent frame for two people or one."""
_MOST_ERROR: Final = 0.05
"""Relative to the L2 norm of the exact result."""
_LEAST_COSINE: Final = 0.998


@dataclass(frozen=True)
class AttentionSizes:
    """The sizes at which a transformer attends.

    token_counts: of every window that may be asked for. usual_tokens: of those that mostly are, at
    which kernels are timed; 0 if none is.
    """

    heads: int
    head_dim: int
    token_counts: tuple[int, ...]
    usual_tokens: int = 0

    def cases(self) -> Iterator[tuple[int, int]]:
        """Numbers of queries and of keys."""
        yield from ((tokens, tokens) for tokens in self.token_counts)
        fewest = min(self.token_counts, default=0)
        yield from ((fewest, keys) for keys in _OTHER_KEYS if fewest)


def disagreement(
    fast: Kernel, exact: Kernel, sizes: AttentionSizes, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Where the fast kernel is first wrong, in a few words; None if it never is."""
    for queries, keys in sizes.cases():
        inputs = inputs_of(queries, keys, sizes, device, dtype)
        expected = exact(*inputs).float()
        found = fast(*inputs)
        if wrong := _wrong(found.float(), expected):
            return f"{wrong} at {queries} queries and {keys} keys"
        if not torch.equal(found, fast(*inputs)):
            return f"not repeatable at {queries} queries and {keys} keys"
    return None


def _wrong(found: Tensor, expected: Tensor) -> str | None:
    if not bool(found.isfinite().all()):
        return "values that are no numbers"
    error = float((found - expected).norm() / expected.norm())
    if error > _MOST_ERROR:
        return f"{error:.1%} off"
    cosine = float(functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0))
    return f"a cosine of {cosine:.4f}" if cosine < _LEAST_COSINE else None


def inputs_of(
    queries: int, keys: int, sizes: AttentionSizes, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Random, but with what real ones have: keys with a mean per channel, and keys and values that
    lie side by side in memory."""
    generator = torch.Generator(device).manual_seed(queries + keys)
    width = sizes.heads * sizes.head_dim

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=torch.float32)

    query = noise(1, queries, width).to(dtype)
    both = noise(1, keys, 2 * width)
    both[..., :width] += 2 * noise(width)
    key, value = both.to(dtype).chunk(2, dim=-1)
    query, key, value = (x.unflatten(-1, (sizes.heads, -1)) for x in (query, key, value))
    return query, key, value
