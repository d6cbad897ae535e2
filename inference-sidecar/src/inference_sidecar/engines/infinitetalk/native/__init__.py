"""The native forward pass over the published weights.

`build_dit(tensors, config, linear, dtype)` in `dit.py` builds the transformer from a mapping with
the published names (`blocks.0.self_attn.q.weight`, …, including the audio branch) and a
`LinearFactory`, which decides the precision of the linear layers: fp32, bf16 or fp8. Everything
else (norms, modulation, time embedding, head) is small and computed in float32.
`NativeDenoiser(dit)` in `denoiser.py` wraps it as `interfaces.Denoiser`.
"""
