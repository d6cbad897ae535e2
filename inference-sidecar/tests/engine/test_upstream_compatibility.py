"""What upstream's code is given so that it runs; its own code is held against ours in parity."""

from __future__ import annotations

import torch

from inference_sidecar.engines.infinitetalk.upstream.compatibility import full_attention


def test_rotated_queries_come_in_float32_and_meet_values_in_bf16() -> None:
    q, k, v = torch.randn(3, 1, 5, 2, 8, generator=torch.Generator().manual_seed(1))
    attended = full_attention(q, k, v.bfloat16())
    assert attended.dtype == torch.float32
    assert torch.equal(
        attended, full_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()).to(torch.float32)
    )
    exact = full_attention(q, k, v)
    assert not torch.equal(attended, exact)
    assert torch.allclose(attended, exact, atol=0.02)
