"""The patches for upstream's code; parity compares upstream's code with ours."""

from __future__ import annotations

import torch

from inference_sidecar.engines.infinitetalk.upstream.compatibility import full_attention


def test_float32_queries_attend_to_bf16_values() -> None:
    q, k, v = torch.randn(3, 1, 5, 2, 8, generator=torch.Generator().manual_seed(1))
    attended = full_attention(q, k, v.bfloat16())
    assert attended.dtype == torch.float32
    assert torch.equal(
        attended, full_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()).to(torch.float32)
    )
    exact = full_attention(q, k, v)
    assert not torch.equal(attended, exact)
    assert torch.allclose(attended, exact, atol=0.02)
