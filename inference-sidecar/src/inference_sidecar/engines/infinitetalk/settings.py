"""Environment variables of the `infinitetalk` engine. No torch: the parent process validates them
too."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings
from inference_sidecar.engines.settings import EngineSettings
from inference_sidecar.foundation.settings import AbsolutePath

SizeClass = Literal["720p", "480p", "432p", "352p"]
Precision = Literal["fp8", "bf16", "fp32"]
Attention = Literal["auto", "sage", "cudnn", "flash", "efficient", "cpu"]

DEFAULT_PROMPT = "A person speaks to the camera, calm background, natural gestures, sharp focus."


class InfiniteTalkSettings(EngineSettings):
    """The defaults suit one L40S with 48 GB."""

    model_storage_path: AbsolutePath = Field(
        description="folder of the weights, made by `python -m inference_sidecar.weights`"
    )
    infinitetalk_device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="where to render; `auto` takes CUDA if available"
    )
    infinitetalk_precision: Precision = Field(
        default="fp8", description="of the transformer's linear layers"
    )
    infinitetalk_attention: Attention = Field(
        default="auto",
        description="attention kernel; `auto` takes the fastest exact one, `sage` (SageAttention) "
        "computes in 8 bits; a kernel that cannot run on the device stops the engine",
    )
    infinitetalk_upstream: AbsolutePath | None = Field(
        default=None,
        description="folder of upstream's code, whose transformer then replaces ours: equally "
        "exact, a third as fast, in bf16 or fp32 only; for when ours is in doubt",
    )
    infinitetalk_size: SizeClass = Field(
        default="432p",
        description="size that is generated, for landscape, portrait and square: 720p (1280x720, "
        "960x960), 480p (832x480, 640x640), 432p (768x432, 576x576), 352p (640x352, 480x480)",
    )
    infinitetalk_steps: int = Field(
        default=4, ge=1, le=100, description="denoising steps per chunk; 4 need a distilled LoRA"
    )
    infinitetalk_shift: float = Field(
        default=5.0, gt=0, le=100, description="above 1, more of the steps are spent at high noise"
    )
    infinitetalk_text_guide: float = Field(
        default=1.0,
        ge=0,
        le=20,
        description="guidance scale of the prompt; 1 saves a forward per step",
    )
    infinitetalk_audio_guide: float = Field(
        default=1.0,
        ge=0,
        le=20,
        description="guidance scale of the voice; 1 saves a forward per step",
    )
    infinitetalk_color: float = Field(
        default=1.0, ge=0, le=1, description="strength of colour matching to the portrait"
    )
    infinitetalk_frames: int = Field(
        default=81, ge=5, description="frames of one chunk, 4n + 1; the model is trained on 81"
    )
    infinitetalk_motion_frames: int = Field(
        default=9, ge=1, description="frames that a chunk shares with the previous one, 4n + 1"
    )
    infinitetalk_prompt: str = Field(
        default=DEFAULT_PROMPT, min_length=1, description="prompt of jobs without one"
    )
    infinitetalk_memory_gib: float | None = Field(
        default=None, gt=0, description="most device memory to use; by default all that is free"
    )
    infinitetalk_size_divisor: int = Field(
        default=1, ge=1, le=32, description="divides every generated size; for tests"
    )

    @model_validator(mode="after")
    def _renders(self) -> InfiniteTalkSettings:
        """Checks combinations of fields; `RenderSettings` raises for its own."""
        self.render_settings()
        if self.infinitetalk_upstream is not None:
            if self.infinitetalk_precision == "fp8":
                raise ValueError(
                    "INFINITETALK_UPSTREAM does not compute in fp8: set INFINITETALK_PRECISION=bf16"
                )
            if self.infinitetalk_attention != "auto":
                raise ValueError(
                    "INFINITETALK_UPSTREAM has an attention of its own: leave out "
                    "INFINITETALK_ATTENTION"
                )
        return self

    def render_settings(self) -> RenderSettings:
        """The settings of every render."""
        return RenderSettings(
            frames=self.infinitetalk_frames,
            motion=self.infinitetalk_motion_frames,
            steps=self.infinitetalk_steps,
            shift=self.infinitetalk_shift,
            text_guide=self.infinitetalk_text_guide,
            audio_guide=self.infinitetalk_audio_guide,
            colour=self.infinitetalk_color,
        )
