"""Upstream's pipeline over the published layout: as a whole, and as models behind our protocols."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import sys
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.layout import BASE, PublishedLayout
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_files import read_pickle
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import count_layers
from inference_sidecar.engines.infinitetalk.checkpoints.text_names import TextSizes
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings
from inference_sidecar.engines.infinitetalk.upstream.compatibility import import_upstream
from inference_sidecar.engines.infinitetalk.upstream.forward import UpstreamDenoiser

_CONFIG: Final = "infinitetalk-14B"
_BUCKET: Final = "infinitetalk-480"


@dataclass(frozen=True)
class UpstreamInput:
    """The arguments of `generate_infinitetalk`.

    image: a picture, or `.npy` frames of a video, uint8 `[T, H, W, 3]`. voices: one or two,
    `[frames, 12, 768]`. boxes: of two people, see `persons.upstream_regions`.
    """

    image: Path
    voices: tuple[Tensor, ...]
    height: int
    width: int
    prompt: str
    negative: str
    seed: int
    max_frames: int
    boxes: tuple[tuple[int, int, int, int], ...] | None = None


class Upstream:
    """Upstream's own classes, unmodified, with weights from a folder in the published layout."""

    def __init__(
        self,
        code: Path,
        weights: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        is_multi: bool = False,
    ) -> None:
        """is_multi: with the audio branch for two voices."""
        self._device = torch.device(device)
        self._dtype = dtype
        self._module = cast("Any", import_upstream(code, self._device))
        layout = PublishedLayout(weights)
        audio = (layout.multi_files if is_multi else layout.transformer_files)[-1]
        with _quiet(), self._sized(layout) as config:
            self.pipeline = self._module.InfiniteTalkPipeline(
                config=config,
                checkpoint_dir=str(weights / BASE),
                infinitetalk_dir=str(audio),
            )

    def generate(self, wanted: UpstreamInput, settings: RenderSettings) -> Tensor:
        """Runs `generate_infinitetalk` from image to frames, `[3, T, H, W]` in -1..1."""
        extra = SimpleNamespace(
            use_teacache=False,
            teacache_thresh=0.2,
            size=_BUCKET,
            use_apg=False,
            apg_momentum=-0.75,
            apg_norm_threshold=55,
        )
        with tempfile.TemporaryDirectory() as folder, _quiet(), _frames_as_video():
            voices: dict[str, str] = {}
            for number, voice in enumerate(wanted.voices, 1):
                path = Path(folder) / f"voice-{number}.pt"
                torch.save(voice, path)
                voices[f"person{number}"] = str(path)
            given: dict[str, object] = {
                "prompt": wanted.prompt,
                "cond_video": _named_as_video(wanted.image, Path(folder)),
                "cond_audio": voices,
            }
            if wanted.boxes is not None:
                given["bbox"] = {
                    f"person{number}": list(box) for number, box in enumerate(wanted.boxes, 1)
                }
            sizes = sys.modules["wan.utils.multitalk_utils"]
            cast("Any", sizes).ASPECT_RATIO_627 = {"1.00": ([wanted.height, wanted.width], 1)}
            return self.pipeline.generate_infinitetalk(
                given,
                size_buckget=_BUCKET,
                motion_frame=settings.motion,
                frame_num=settings.frames,
                shift=settings.shift,
                sampling_steps=settings.steps,
                text_guide_scale=settings.text_guide,
                audio_guide_scale=settings.audio_guide,
                n_prompt=wanted.negative,
                seed=wanted.seed,
                offload_model=False,
                max_frames_num=wanted.max_frames,
                progress=False,
                color_correction_strength=settings.colour,
                extra_args=extra,
            )

    def models(self) -> Models:
        """Upstream's models for our chunk loop: slower than ours, and they need more memory."""
        pipeline = self.pipeline
        return Models(
            denoiser=UpstreamDenoiser(
                pipeline.model.to(pipeline.device), pipeline.device, pipeline.param_dtype
            ),
            codec=_UpstreamCodec(pipeline),
            image_encoder=_UpstreamImageEncoder(pipeline),
        )

    @contextlib.contextmanager
    def _sized(self, layout: PublishedLayout) -> Generator[Any]:
        """Upstream hard-codes the sizes of three models; here they follow from the weights."""
        configs = cast("Any", sys.modules["wan.configs"]).WAN_CONFIGS
        config = copy.deepcopy(configs[_CONFIG])
        config.t5_dtype = config.clip_dtype = config.param_dtype = self._dtype
        config.text_len = layout.transformer_config.get("text_len", 512)
        with (
            _sized_call("wan.modules.t5", "umt5_xxl", _text_sizes(layout)),
            _sized_call("wan.modules.clip", "clip_xlm_roberta_vit_h_14", _image_sizes(layout)),
            _sized_call("wan.modules.vae", "_video_vae", _codec_sizes(layout)),
        ):
            yield config


class _UpstreamCodec:
    def __init__(self, pipeline: Any) -> None:  # noqa: ANN401
        self._vae = pipeline.vae

    def encode(self, frames: Tensor) -> Tensor:
        return self._vae.encode([frames.to(self._vae.device, torch.float32)])[0]

    def decode(self, latent: Tensor) -> Tensor:
        return self._vae.decode([latent.to(self._vae.device, torch.float32)])[0]


class _UpstreamImageEncoder:
    def __init__(self, pipeline: Any) -> None:  # noqa: ANN401
        self._clip = pipeline.clip

    def embed(self, image: Tensor) -> Tensor:
        self._clip.model.to(self._clip.device)
        return self._clip.visual(image[None, :, None].to(self._clip.device))[0].float()


@contextlib.contextmanager
def _sized_call(module: str, name: str, sizes: dict[str, object]) -> Generator[None]:
    """While the block runs, passes these additional arguments to a function of upstream's."""
    owner = sys.modules[module]
    original = getattr(owner, name)
    setattr(owner, name, functools.partial(original, **sizes))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _text_sizes(layout: PublishedLayout) -> dict[str, object]:
    sizes = TextSizes.of(read_pickle(layout.text_weights))
    return {
        "vocab_size": sizes.vocabulary,
        "dim": sizes.width,
        "dim_attn": sizes.inner,
        "dim_ffn": sizes.hidden,
        "num_heads": sizes.heads,
        "encoder_layers": sizes.layers,
        "num_buckets": sizes.buckets,
    }


def _image_sizes(layout: PublishedLayout) -> dict[str, object]:
    tensors = read_pickle(layout.image_weights)
    width = tensors["visual.patch_embedding.weight"].shape[0]
    words, text_width = tensors["textual.token_embedding.weight"].shape
    return {
        "embed_dim": tensors["visual.head"].shape[1],
        # Upstream multiplies and truncates; the half keeps the result from being one too small.
        "vision_mlp_ratio": (tensors["visual.transformer.0.mlp.0.weight"].shape[0] + 0.5) / width,
        "vision_layers": count_layers(tensors, "visual.transformer.{}.norm1.weight"),
        "vocab_size": words,
        "max_text_len": tensors["textual.pos_embedding.weight"].shape[0],
        "text_dim": text_width,
        # Only the shapes of the text half matter, and they do not depend on the heads.
        "text_heads": 1,
        "text_layers": count_layers(tensors, "textual.blocks.{}.norm1.weight"),
    }


def _codec_sizes(layout: PublishedLayout) -> dict[str, object]:
    return {"dim": read_pickle(layout.codec_weights)["encoder.conv1.weight"].shape[0]}


def _named_as_video(source: Path, folder: Path) -> str:
    """Upstream tells a video by its name."""
    if source.suffix != ".npy":
        return str(source)
    link = folder / "source.mp4"
    link.symlink_to(source.resolve())
    return str(link)


class _ArrayReader:
    """`decord.VideoReader` over an array in a file: the frames themselves, without a codec."""

    def __init__(self, path: str, ctx: object = None) -> None:
        del ctx
        self._frames = np.load(path, mmap_mode="r")
        self._num_frame = len(self._frames)

    def __getitem__(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(asnumpy=lambda: np.array(self._frames[index]))


def _any_device(_index: int) -> None:
    """`decord.cpu`."""


@contextlib.contextmanager
def _frames_as_video() -> Generator[None]:
    """While the block runs, upstream reads videos as arrays."""
    module = cast("Any", sys.modules["wan.utils.utils"])
    before = module.VideoReader, module.cpu
    module.VideoReader, module.cpu = _ArrayReader, _any_device
    try:
        yield
    finally:
        module.VideoReader, module.cpu = before


def _quiet() -> AbstractContextManager[object]:
    """Discards what upstream prints to stdout."""
    return contextlib.redirect_stdout(io.StringIO())
