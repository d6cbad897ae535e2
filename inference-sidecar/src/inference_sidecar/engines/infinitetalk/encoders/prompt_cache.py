"""Embedded prompts, kept on the disk: the text encoder is larger than all other encoders together.

With every prompt of the last days at hand it need not even be loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.interfaces import TextEncoder

MOST_BYTES: Final = 2_000_000_000
"""About five hundred prompts of full length; what was not asked for longest goes first."""

_log = logging.getLogger("avatar")


class PromptCache:
    """`interfaces.TextEncoder` over another one, which is made only when it is needed.

    fingerprint: names the encoder's weights; what another one embedded is not found. A result that
    cannot be read, or is not what its name says, is made again. A disk that takes nothing costs
    time, and no render.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        make_encoder: Callable[[], TextEncoder],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._make_encoder = make_encoder
        self._most_bytes = most_bytes
        self._encoder: TextEncoder | None = None

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """See `interfaces.TextEncoder.embed`."""
        found = [self._read(self._path(text)) for text in texts]
        missing = [text for text, tensor in zip(texts, found, strict=True) if tensor is None]
        made = iter(self._embedded(list(dict.fromkeys(missing))) if missing else [])
        fresh = dict(zip(dict.fromkeys(missing), made, strict=True))
        return [
            tensor if tensor is not None else fresh[text]
            for text, tensor in zip(texts, found, strict=True)
        ]

    def _embedded(self, texts: list[str]) -> list[Tensor]:
        if self._encoder is None:
            self._encoder = self._make_encoder()
        made = self._encoder.embed(texts)
        for text, tensor in zip(texts, made, strict=True):
            self._keep(self._path(text), tensor)
        return made

    def _path(self, text: str) -> Path:
        facts = json.dumps([self._fingerprint, text]).encode()
        return self._folder / f"{hashlib.sha256(facts).hexdigest()}.safetensors"

    def _read(self, path: Path) -> Tensor | None:
        try:
            with cast("Any", safe_open(path, framework="pt")) as file:
                tensor = cast("Tensor", file.get_tensor("embedding"))
                stated = (file.metadata() or {}).get("sha256")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError):
            _log.warning("A kept prompt could not be read; it is embedded again.")
            return None
        if stated != _digest(tensor):
            _log.warning("A kept prompt is damaged; it is embedded again.")
            return None
        with suppress(OSError):
            # Its place in the order of deletion.
            os.utime(path)
        return tensor.float()

    def _keep(self, path: Path, tensor: Tensor) -> None:
        exact = tensor.detach().cpu().contiguous()
        # An encoder that computes in bf16 gives values that fit into half the room.
        half = exact.bfloat16()
        kept = half if torch.equal(half.float(), exact.float()) else exact.float()
        content = save({"embedding": kept}, {"sha256": _digest(kept)})
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            self._forget_oldest()
        except OSError:
            _log.warning("A prompt could not be kept.", exc_info=True)
            with suppress(OSError):
                draft.unlink()

    def _forget_oldest(self) -> None:
        states = [(path.stat(), path) for path in self._folder.glob("*.safetensors")]
        left = sum(state.st_size for state, _ in states)
        for state, path in sorted(states, key=lambda each: each[0].st_mtime_ns):
            if left <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            left -= state.st_size


def _digest(tensor: Tensor) -> str:
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(cast("Any", flat.numpy())).hexdigest()
