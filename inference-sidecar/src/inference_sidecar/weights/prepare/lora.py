"""Reads LoRA files in all their published formats.

A layer has two small matrices, `lora_down`/`lora_up` or `lora_A`/`lora_B`, whose product is added
to the weight, scaled by `alpha` over their rank, or by 1 without `alpha`. There are also full
differences: `diff` of a weight, `diff_b` of a bias, `diff_m` of a modulation. Names have a prefix
that depends on the tool that wrote them. A file with any tensor that matches no layer is refused,
and
the names are listed: merging it in part would give another model than requested.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import MergedLora
from inference_sidecar.foundation.errors import WeightsError

_PREFIXES: Final = (
    "base_model.model.diffusion_model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "base_model.model.",
    "transformer.",
    "lora_unet__",
    "lora_unet_",
)
_ENDINGS: Final = re.compile(
    r"\.(?:(?P<down>lora_down|lora_A|lora\.down)(?:\.default)?\.weight"
    r"|(?P<up>lora_up|lora_B|lora\.up)(?:\.default)?\.weight"
    r"|(?P<alpha>alpha)|(?P<diff>diff)|(?P<diff_b>diff_b)|(?P<diff_m>diff_m))$"
)
_TARGETS: Final = {"diff": "weight", "diff_b": "bias", "diff_m": "modulation"}
_SHOWN: Final = 10


@dataclass(frozen=True)
class Change:
    """The update of one tensor: `strength * up @ down`, or `strength * full`."""

    strength: float
    up: Tensor | None = None
    down: Tensor | None = None
    full: Tensor | None = None

    def rows(self, start: int, block: Tensor) -> Tensor:
        """The update of the rows of `block`, which starts at row `start`; float32."""
        rows = slice(start, start + block.shape[0])
        if self.full is not None:
            change = self.full[rows]
        else:
            up, down = cast("Tensor", self.up), cast("Tensor", self.down)
            left = up[rows].flatten(1).to(block.device, torch.float32)
            change = left @ down.flatten(1).to(block.device, torch.float32)
        return change.to(block.device, torch.float32).reshape(block.shape) * self.strength


@dataclass(frozen=True)
class Lora:
    """A LoRA file, with its updates by tensor name."""

    merged: MergedLora
    changes: Mapping[str, Sequence[Change]]


def read_lora(path: Path, sha256: str, scale: float, shapes: Mapping[str, tuple[int, ...]]) -> Lora:
    """Reads a LoRA for a model with these tensor shapes.

    Raises `WeightsError` with the names of tensors that match no layer, lack their counterpart or
    have the wrong shape.
    """
    tensors = _read(path)
    layers = _LayerNames(shapes)
    by_layer: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown: list[str] = []
    for key, tensor in tensors.items():
        match = _ENDINGS.search(key)
        layer = layers.find(key[: match.start()]) if match else None
        if match is None or layer is None or match.lastgroup is None:
            unknown.append(key)
            continue
        by_layer[layer][match.lastgroup] = tensor
    _refuse(path, "names that this model does not have", unknown)
    changes: dict[str, list[Change]] = defaultdict(list)
    misfits: list[str] = []
    for layer, found in by_layer.items():
        for name, change in _changes_of(layer, found, scale, shapes):
            if _fits(change, shapes.get(name)):
                changes[name].append(change)
            else:
                misfits.append(f"{name} {_described(found)}")
        if not _is_complete(found):
            misfits.append(f"{layer} (only {', '.join(sorted(found))})")
    _refuse(path, "tensors without their counterpart, or of other shapes than the model's", misfits)
    if not changes:
        raise WeightsError(f"{path.name} changes nothing: it holds no LoRA.")
    return Lora(MergedLora(path.name, sha256, scale), changes)


def require_untouched(lora: Lora, names: Iterable[str]) -> None:
    """Raises `WeightsError` if a LoRA changes any of these tensors of the audio branch.

    The branch for two voices is loaded beside the transformer and gets no LoRA: one that changed
    the branch for a single voice would give a model whose two branches differ by it.
    """
    if touched := sorted(set(names) & lora.changes.keys()):
        raise WeightsError(
            f"{lora.merged.name} changes the audio branch ({_some(touched)}), which LoRAs leave"
            " alone. Give one for Wan 2.1 I2V 14B, or none."
        )


class _LayerNames:
    """Finds a layer by the name that a tool gave it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._layers = {layer for name in names for layer in (name, name.rpartition(".")[0])}
        # Some tools write `_` instead of `.`; only whole names tell which `_` was a `.`.
        self._flat = {layer.replace(".", "_"): layer for layer in self._layers}

    def find(self, name: str) -> str | None:
        for prefix in (*_PREFIXES, ""):
            bare = name.removeprefix(prefix) if name.startswith(prefix) else None
            if bare in self._layers:
                return bare
            if bare is not None and prefix.startswith("lora_unet") and bare in self._flat:
                return self._flat[bare]
        return None


def _changes_of(
    layer: str,
    found: Mapping[str, Tensor],
    scale: float,
    shapes: Mapping[str, tuple[int, ...]],
) -> Iterable[tuple[str, Change]]:
    if "up" in found and "down" in found:
        rank = found["down"].shape[0]
        alpha = float(found["alpha"]) if "alpha" in found else float(rank)
        change = Change(scale * alpha / rank, up=found["up"], down=found["down"])
        yield f"{layer}.weight", change
    for kind, tensor in _TARGETS.items():
        if kind in found:
            # Some tools use the name of the tensor instead of the layer.
            name = layer if layer in shapes else f"{layer}.{tensor}"
            yield name, Change(scale, full=found[kind])


def _is_complete(found: Mapping[str, Tensor]) -> bool:
    """Whether every tensor has its counterpart."""
    if ("up" in found) != ("down" in found):
        return False
    return "alpha" not in found or "up" in found or "diff" in found


def _fits(change: Change, shape: tuple[int, ...] | None) -> bool:
    if shape is None:
        return False
    if change.full is not None:
        return change.full.shape == shape
    up, down = cast("Tensor", change.up), cast("Tensor", change.down)
    inputs = down[0].numel()
    return (
        len(shape) >= 2
        and up.shape[0] == shape[0]
        and up[0].numel() == down.shape[0]
        and inputs == torch.Size(shape[1:]).numel()
    )


def _described(found: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{kind} {list(tensor.shape)}" for kind, tensor in sorted(found.items()))


def _refuse(path: Path, what: str, names: list[str]) -> None:
    if not names:
        return
    raise WeightsError(
        f"{path.name} has {what}: {_some(sorted(names))}. It was made for another model; give one"
        " for Wan 2.1 I2V 14B, or none."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as cause:
        raise WeightsError(f"There is no LoRA {path}.") from cause
    except (SafetensorError, OSError) as cause:
        raise WeightsError(f"{path} is not a LoRA in safetensors format: {cause}.") from cause
