"""Our own forward pass over the published weights.

`build_dit(tensors, config, linear, dtype)` in `dit.py` makes the transformer out of a mapping with
the published names (`blocks.0.self_attn.q.weight`, …, the audio branch among them) and a
`LinearFactory`, which decides the precision of the linear layers: fp32, bf16 or fp8. Everything
else (norms, modulation, time embedding, head) is computed in float32 and stays small.
`NativeDenoiser(dit)` in `denoiser.py` is the `interfaces.Denoiser` around it.
"""
