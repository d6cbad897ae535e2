"""A cache of prompt embeddings on disk.

The text encoder is larger than all other encoders together. It is only loaded for a prompt that is
not in the cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.interfaces import TextEncoder

MOST_BYTES: Final = 2_000_000_000
"""About 500 prompts of full length. The least recently used ones are deleted first."""

_log = logging.getLogger("avatar")


@dataclass(eq=False)
class PromptCache:
    """`interfaces.TextEncoder` that caches another one, which is created on the first miss.

    fingerprint: identifies the encoder: its weights and how it reads text. Embeddings of another
    one are not found. An unreadable or damaged entry is computed again. A disk that cannot be
    written costs time, but fails no render.
    """

    folder: Path
    fingerprint: str
    make_encoder: Callable[[], TextEncoder]
    most_bytes: int = MOST_BYTES
    _encoder: TextEncoder | None = field(default=None, init=False)

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """See `interfaces.TextEncoder.embed`."""
        found = [self._read(self._path(text)) for text in texts]
        missing = [text for text, tensor in zip(texts, found, strict=True) if tensor is None]
        computed = iter(self._compute(list(dict.fromkeys(missing))) if missing else [])
        fresh = dict(zip(dict.fromkeys(missing), computed, strict=True))
        return [
            tensor if tensor is not None else fresh[text]
            for text, tensor in zip(texts, found, strict=True)
        ]

    def _compute(self, texts: list[str]) -> list[Tensor]:
        if self._encoder is None:
            self._encoder = self.make_encoder()
        computed = self._encoder.embed(texts)
        for text, tensor in zip(texts, computed, strict=True):
            self._store(self._path(text), tensor)
        return computed

    def _path(self, text: str) -> Path:
        facts = json.dumps([self.fingerprint, text]).encode()
        return self.folder / f"{hashlib.sha256(facts).hexdigest()}.safetensors"

    def _read(self, path: Path) -> Tensor | None:
        try:
            with cast("Any", safe_open(path, framework="pt")) as file:
                tensor = cast("Tensor", file.get_tensor("embedding"))
                stated = (file.metadata() or {}).get("sha256")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError):
            _log.warning("A cached prompt could not be read; it is embedded again.")
            return None
        if stated != _digest(tensor):
            _log.warning("A cached prompt is damaged; it is embedded again.")
            return None
        with suppress(OSError):
            # Marks it as recently used.
            os.utime(path)
        return tensor.float()

    def _store(self, path: Path, tensor: Tensor) -> None:
        exact = tensor.detach().cpu().contiguous()
        # The values of an encoder that computes in bf16 fit into half the space.
        half = exact.bfloat16()
        stored = half if torch.equal(half.float(), exact.float()) else exact.float()
        content = save({"embedding": stored}, {"sha256": _digest(stored)})
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            self._delete_oldest()
        except OSError:
            _log.warning("A prompt could not be cached.", exc_info=True)
            with suppress(OSError):
                draft.unlink()

    def _delete_oldest(self) -> None:
        states = [(path.stat(), path) for path in self.folder.glob("*.safetensors")]
        left = sum(state.st_size for state, _ in states)
        for state, path in sorted(states, key=lambda each: each[0].st_mtime_ns):
            if left <= self.most_bytes:
                return
            path.unlink(missing_ok=True)
            left -= state.st_size


def _digest(tensor: Tensor) -> str:
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(cast("Any", flat.numpy())).hexdigest()
