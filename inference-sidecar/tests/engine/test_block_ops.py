"""The operations between the linear layers: the GPU kernels, interpreted, compared with plain
torch."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton", reason="run npm run setup -- --with kernels")

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import TensorSource
from inference_sidecar.engines.infinitetalk.native import triton_ops
from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.block import Block, KeyValue, Shared
from inference_sidecar.engines.infinitetalk.native.block_ops import (
    BlockOps,
    EagerOps,
    LinearInput,
    Norm,
)
from inference_sidecar.engines.infinitetalk.native.config import DitConfig
from inference_sidecar.engines.infinitetalk.native.fastest_block_ops import agree, fastest_block_ops
from inference_sidecar.engines.infinitetalk.native.fp8 import (
    E4M3_MAX,
    QuantisedRows,
    quantise_activation,
)
from inference_sidecar.engines.infinitetalk.native.layers import LayerNorm, Modulation, RmsNorm
from inference_sidecar.engines.infinitetalk.native.linear import plain_linear
from inference_sidecar.engines.infinitetalk.native.rope import Rotation, rotation, turned
from inference_sidecar.engines.infinitetalk.native.triton_ops import TritonOps
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    random_tensors,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
    base_shapes,
)
from stage.noise import noise

CPU = torch.device("cpu")
TOKENS, HEADS, HEAD_DIM = 5, 3, 8
WIDTH = HEADS * HEAD_DIM
EAGER, FUSED = EagerOps(), TritonOps()


def near(mine: Tensor, theirs: Tensor) -> bool:
    return mine.shape == theirs.shape and torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)


X, OTHER, GATE = noise(TOKENS, WIDTH), noise(TOKENS, WIDTH, seed=1), noise(WIDTH, seed=2)
MODULATION = Modulation(noise(WIDTH, seed=3), noise(WIDTH, seed=4), 1e-6)
LAYER = LayerNorm.of(noise(WIDTH, seed=5), noise(WIDTH, seed=6), 1e-5)


@pytest.mark.parametrize("by", [MODULATION, LAYER, None])
@pytest.mark.parametrize("gate", [GATE, None])
def test_fused_sums_with_norms_match_torch(by: Norm, gate: Tensor | None) -> None:
    mine = FUSED.sum_norm(X, OTHER, gate, by, as_rows=False)
    theirs = EAGER.sum_norm(X, OTHER, gate, by, as_rows=False)
    for one, other in zip(mine, theirs, strict=True):
        assert isinstance(one, Tensor)
        assert isinstance(other, Tensor)
        assert near(one, other)


@pytest.mark.parametrize("by", [MODULATION, LAYER])
def test_fused_norms_match_torch(by: Norm) -> None:
    mine, theirs = (ops.norm(X * 40 + 7, by, as_rows=False) for ops in (FUSED, EAGER))
    assert isinstance(mine, Tensor)
    assert isinstance(theirs, Tensor)
    assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_fused_gated_sums_match_torch() -> None:
    assert near(FUSED.gated_sum(X, OTHER, GATE), EAGER.gated_sum(X, OTHER, GATE))


@pytest.mark.parametrize("head_dim", [8, 6])
@pytest.mark.parametrize("is_rotated", [True, False])
def test_fused_heads_are_normalised_and_rotated_like_torchs(
    head_dim: int, *, is_rotated: bool
) -> None:
    # Six is not a power of two, which the kernel needs.
    x, norm = noise(TOKENS, HEADS * head_dim), RmsNorm.of(noise(HEADS * head_dim, seed=7), 1e-6)
    angles = noise(TOKENS, 1, head_dim // 2, seed=8)
    positions = Rotation(angles.cos(), angles.sin()) if is_rotated else None
    mine, theirs = (ops.heads(x, norm, HEADS, positions) for ops in (FUSED, EAGER))
    assert mine.shape == (TOKENS, HEADS, head_dim)
    assert near(mine, theirs)


@pytest.mark.parametrize("head_dim", [8, 6])
def test_fused_turns_match_torchs(head_dim: int) -> None:
    x = noise(TOKENS, HEADS, head_dim)
    by = turned(noise(TOKENS, seed=9) * 12, head_dim)
    assert near(FUSED.turn(x, by), EAGER.turn(x, by))


def quantised_and_exact(ops: BlockOps) -> dict[str, tuple[LinearInput, LinearInput]]:
    """The result of each quantising operation, and its input."""
    return {
        "modulated": (
            ops.norm(X, MODULATION, as_rows=True),
            EAGER.norm(X, MODULATION, as_rows=False),
        ),
        "sum, normed": (
            ops.sum_norm(X, OTHER, GATE, LAYER, as_rows=True)[1],
            EAGER.sum_norm(X, OTHER, GATE, LAYER, as_rows=False)[1],
        ),
        "sum": (ops.sum(X, OTHER, as_rows=True), EAGER.sum(X, OTHER, as_rows=False)),
        "gelu": (ops.gelu(X, as_rows=True), EAGER.gelu(X, as_rows=False)),
        "as it is": (ops.rows(X, as_rows=True), X),
    }


@pytest.mark.parametrize("name", list(quantised_and_exact(EAGER)))
def test_each_row_is_quantised_by_its_own_largest_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without rounding to e4m3, which the interpreter gets wrong.
    monkeypatch.setattr(triton_ops, "E4M3", torch.float32)
    rows, exact = quantised_and_exact(FUSED)[name]
    assert isinstance(rows, QuantisedRows)
    assert isinstance(exact, Tensor)
    assert near(rows.scale, quantise_activation(exact).scale)
    assert near(rows.values.abs().amax(1), torch.full((TOKENS,), E4M3_MAX))
    assert near(rows.dequantised(torch.float32), exact)
    assert rows.dtype == exact.dtype


def test_a_row_of_zeros_is_quantised_to_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_ops, "E4M3", torch.float32)
    rows = FUSED.rows(torch.zeros(2, WIDTH), as_rows=True)
    assert isinstance(rows, QuantisedRows)
    assert bool((rows.values == 0).all())


def test_a_whole_block_matches_the_architecture_written_out() -> None:
    tiny = TinySizes()
    shapes = base_shapes(tiny) | audio_shapes(tiny)
    source = TensorSource(random_tensors(shapes, torch.Generator().manual_seed(1)))
    config = DitConfig.of(source, {"num_heads": tiny.heads, "text_len": tiny.text_tokens})
    block = Block(source, "blocks.0", config, plain_linear)
    grid = (2, 2, 3)
    heads = (config.heads, config.head_dim)
    text, image = (KeyValue(noise(1, n, *heads), noise(1, n, *heads, seed=1)) for n in (7, 257))
    x = noise(12, config.dim)

    def shared(ops: BlockOps) -> Shared:
        return Shared(
            time=noise(1, 6, config.dim, seed=2),
            positions=rotation(grid, config.head_dim, CPU, torch.float32),
            audio=noise(2, config.audio_tokens, config.audio_dim, seed=3),
            attend=Attention(AttentionBackend.CPU, CPU, torch.float32),
            ops=ops,
        )

    def written_out() -> Tensor:
        """The block written out from the architecture, one line per layer."""
        given = shared(EAGER)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation + given.time)[0]

        def plain(x: Tensor) -> Tensor:
            return functional.layer_norm(x, (config.dim,), eps=config.epsilon)

        assert block.norm3 is not None
        assert block.voice.norm_x is not None
        y = x + gate * block.self_attn(plain(x) * (1 + scale) + shift, given)[0]
        y = y + block.cross_attn(block.norm3(y), text, image, given)
        y = y + block.voice.audio_cross_attn(block.voice.norm_x(y), given)
        hidden = block.ffn_in(plain(y) * (1 + ffn_scale) + ffn_shift)
        return y + ffn_gate * block.ffn_out(functional.gelu(hidden, approximate="tanh"))

    with torch.inference_mode():
        expected = written_out()
        for ops in (FUSED, EAGER):
            assert torch.allclose(
                block(x, text, image, shared(ops)), expected, rtol=1e-4, atol=1e-5
            )
    assert not torch.allclose(expected, x, rtol=1e-2)


class _Wrong(TritonOps):
    def gated_sum(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        return super().gated_sum(x, update, 1.1 * gate)


def test_kernels_with_wrong_results_are_detected() -> None:
    assert agree(EAGER, EAGER, CPU, torch.bfloat16)
    assert not agree(_Wrong(), EAGER, CPU, torch.float32)


def test_torch_computes_and_logs_a_warning_where_the_kernels_do_not_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert fastest_block_ops(CPU, torch.bfloat16).name == "eager"
    with caplog.at_level(logging.WARNING):
        # This machine has no CUDA device, or interprets the kernels.
        chosen = fastest_block_ops(torch.device("cuda", 99), torch.bfloat16)
    assert chosen.name == "eager"
    assert "fused kernels between the layers are not used" in caplog.text
