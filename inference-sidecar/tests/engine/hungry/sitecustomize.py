"""Loaded by a render process that has this folder on its path: makes forwards run out of memory.

The file that HUNGRY names says how large a latent may be, in values of a plane; it is read at every
forward, so that a test can change its mind while the process lives.
"""

import os
import sys
from pathlib import Path
from typing import Any

if "HUNGRY" in os.environ and "inference_sidecar.rendering.render_child" in sys.orig_argv:
    import torch

    from inference_sidecar.engines.infinitetalk.native.denoiser import NativeConditioned

    _predict = NativeConditioned.predict

    def _predict_while_it_fits(self: Any, latent: Any, *rest: Any) -> Any:
        limit = int(Path(os.environ["HUNGRY"]).read_text())
        if latent.shape[-1] * latent.shape[-2] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return _predict(self, latent, *rest)

    NativeConditioned.predict = _predict_while_it_fits  # type: ignore[method-assign]
