"""Environment variables of the `infinitetalk` engine. No torch: the parent process validates them
too."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from inference_sidecar.engines.infinitetalk.recipes import RECIPES, Recipe, SamplingRefused
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    AtCuts,
    Check,
    ColourBy,
    Crop,
    Others,
    RenderSettings,
    Tail,
)
from inference_sidecar.engines.settings import EngineSettings
from inference_sidecar.foundation.settings import AbsolutePath, FolderOrPattern

SizeClass = Literal["720p", "480p", "432p", "352p"]
Precision = Literal["fp8", "bf16", "fp32"]
Attention = Literal["auto", "fast", "sage", "cudnn", "flash", "efficient", "cpu"]

DEFAULT_PROMPT = "A person speaks to the camera, calm background, natural gestures, sharp focus."


class InfiniteTalkSettings(EngineSettings):
    """The defaults suit one L40S with 48 GB."""

    model_storage_path: FolderOrPattern = Field(
        description="folder of the weights, made by `python -m inference_sidecar.weights`; or a"
        " pattern that matches one folder, such as `…/snapshots/*`"
    )
    infinitetalk_device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="where to render; `auto` takes CUDA if available"
    )
    infinitetalk_precision: Precision = Field(
        default="fp8", description="of the transformer's linear layers"
    )
    infinitetalk_audio_branch: Literal["bf16", "fp8"] = Field(
        default="bf16",
        description="of the layers that hear the voice, beside fp8 weights; `fp8` saves 2.3 GiB",
    )
    infinitetalk_attention: Attention = Field(
        default="auto",
        description="attention kernel; `auto` takes the fastest exact one, `sage` (SageAttention) "
        "computes in 8 bits; a kernel that cannot run on the device, or `sage` that disagrees with "
        "exact attention, stops the engine; `fast` takes `sage` if it agrees, else an exact one",
    )
    infinitetalk_upstream: AbsolutePath | None = Field(
        default=None,
        description="folder of upstream's code, whose transformer then replaces ours: equally "
        "exact, a third as fast, in bf16 or fp32 only; for when ours is in doubt",
    )
    infinitetalk_size: SizeClass = Field(
        default="480p",
        description="size that is generated; in landscape 720p is 1280x704, 480p 832x480, 432p "
        "768x432, 352p 640x352, and other aspects have about as many pixels",
    )
    infinitetalk_high_size: SizeClass | None = Field(
        default=None,
        description="size of jobs that ask for the quality `high`; by default INFINITETALK_SIZE, "
        "in more steps where the weights allow it",
    )
    infinitetalk_sampling: Literal["recipe", "any"] = Field(
        default="recipe",
        description="what happens to settings that contradict how the weights were trained: "
        "`recipe` stops the engine, `any` renders with them",
    )
    infinitetalk_steps: int | None = Field(
        default=None, ge=1, le=100, description="denoising steps per chunk; by default the weights'"
    )
    infinitetalk_shift: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="above 1, more of the steps are spent at high noise; by default the weights'",
    )
    infinitetalk_text_guide: float | None = Field(
        default=None,
        ge=0,
        le=20,
        description="guidance scale of the prompt, by default the weights'; 1 saves a forward per "
        "step",
    )
    infinitetalk_audio_guide: float | None = Field(
        default=None,
        ge=0,
        le=20,
        description="guidance scale of the voice, by default the weights'; 1 saves a forward per "
        "step",
    )
    infinitetalk_guided_steps: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="the voice guides only so many of the first steps; by default as many as the "
        "weights' recipe says",
    )
    infinitetalk_color: float = Field(
        default=1.0, ge=0, le=1, description="strength of colour matching to the portrait"
    )
    infinitetalk_color_by: ColourBy = Field(
        default=ColourBy.CHUNK,
        description="what is matched at once: a whole `chunk`, or each `frame` by itself like "
        "upstream",
    )
    infinitetalk_color_video: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="the same where a source video is dubbed, whose own colours change; at most"
        " INFINITETALK_COLOR is taken",
    )
    infinitetalk_multi: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto` loads the audio branch for two voices if it was prepared, 4.6 GiB in"
        " bf16; `off` leaves it out",
    )
    infinitetalk_others: Others = Field(
        default=Others.SILENT,
        description="what other faces hear while one person speaks: `silent` (silence, as the "
        "second person of the weights for two voices, or else as `gate`), `gate` (silence, with "
        "any weights), `free` (the voice, like upstream: the model decides who speaks)",
    )
    infinitetalk_camera: Literal["auto", "still"] = Field(
        default="auto",
        description="of jobs that leave it open: `auto` moves slowly in videos of more than a "
        "minute, `still` never",
    )
    infinitetalk_crop: Crop = Field(
        default=Crop.FACE,
        description="the part of a picture of another aspect that is shown: `face` (the whole head "
        "of who speaks), or the `centre` like upstream",
    )
    infinitetalk_at_cuts: AtCuts = Field(
        default=AtCuts.SCENE,
        description="what a cut of a source video begins: `scene` (a chunk of its own), or "
        "`nothing` like upstream",
    )
    infinitetalk_tail: Tail = Field(
        default=Tail.SILENCE,
        description="what the last chunk hears after the end of the voice: `silence`, or the voice "
        "backwards (`mirror`) like upstream",
    )
    infinitetalk_pauses: Literal["voice", "silence"] = Field(
        default="voice",
        description="what is heard in pauses of the voice: what the recording has there (`voice`), "
        "or `silence`, where it is below -50 dBFS for more than 0.3 s",
    )
    infinitetalk_check: Check = Field(
        default=Check.PICTURE,
        description="what is looked at before a chunk is delivered: `picture` (numbers, contrast, "
        "noise, flicker), `finite` (numbers alone; for random weights), `off`",
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
        self.render_settings(RECIPES["lightx2v-4"])
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

    def render_settings(self, recipe: Recipe, size_class: str | None = None) -> RenderSettings:
        """How weights of this recipe render the quality `standard`, or at another size class."""
        steps = self.infinitetalk_steps or recipe.steps
        guided_steps = self.infinitetalk_guided_steps
        return RenderSettings(
            frames=self.infinitetalk_frames,
            motion=self.infinitetalk_motion_frames,
            steps=steps,
            shift=_given(
                self.infinitetalk_shift, recipe.shift_at(size_class or self.infinitetalk_size)
            ),
            grid=recipe.grid,
            text_guide=_given(self.infinitetalk_text_guide, recipe.text_guide),
            audio_guide=_given(self.infinitetalk_audio_guide, recipe.audio_guide),
            guided_steps=recipe.guided_steps(steps) if guided_steps is None else guided_steps,
            colour=self.infinitetalk_color,
            colour_by=self.infinitetalk_color_by,
            tail=self.infinitetalk_tail,
            silent_pauses=self.infinitetalk_pauses == "silence",
            others=self.infinitetalk_others,
            check=self.infinitetalk_check,
            crop=self.infinitetalk_crop,
            at_cuts=self.infinitetalk_at_cuts,
        )

    def objection(self, recipe: Recipe) -> str | None:
        """How these settings contradict weights of this recipe, in one sentence.

        Raises `SamplingRefused` with it, unless the operator allowed that.
        """
        rendering = self.render_settings(recipe)
        objection = recipe.objection(rendering.steps, rendering.text_guide)
        if objection is not None and self.infinitetalk_sampling == "recipe":
            raise SamplingRefused(f"{objection}.")
        return objection


def _given(setting: float | None, otherwise: float) -> float:
    return otherwise if setting is None else setting
