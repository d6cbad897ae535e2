"""Turns the files of a request into the tensors that the chunk loop takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from inference_sidecar.engines.engine import FPS, Control, RenderRequest, Voice
from inference_sidecar.engines.infinitetalk.inputs.speech import (
    SAMPLES_PER_FRAME,
    level_loudness,
    pad_to_frames,
    pauses_of,
    read_speech,
)
from inference_sidecar.engines.infinitetalk.sampling.anchors import Anchors
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import RenderJob
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    Listeners,
    TextEncoder,
    VoiceEncoder,
    VoiceTrack,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    RenderSettings,
    Tail,
    VoiceEnds,
)

_LEAST_EMBEDDED: Final = 10
"""Frames, 0.4 s. Of less the speech encoder makes nothing useful: silent samples are appended."""
NEGATIVE_PROMPT: Final = (
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, JPEG compression residue, ugly, "
    "incomplete, extra fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, "
    "misshapen limbs, fused fingers, still picture, messy background, three legs, many people in "
    "the background, walking backwards"
)
"""Upstream's default negative prompt."""


@dataclass(frozen=True)
class Encoders:
    """What runs before the chunk loop."""

    text: TextEncoder
    voice: VoiceEncoder


@dataclass(frozen=True)
class Scene:
    """What is filmed.

    portrait: the first picture. anchors: give each window its own; None takes the portrait for all.
    listeners: who hears which of two voices; of a single one in the request, the second is silent.
    cuts: where scenes begin, see `plan_windows`.
    """

    portrait: Tensor
    anchors: Anchors | None = None
    listeners: Listeners | None = None
    cuts: tuple[int, ...] = ()


def prepare_job(
    encoders: Encoders,
    request: RenderRequest,
    scene: Scene,
    prompt: str,
    settings: RenderSettings,
    control: Control,
) -> RenderJob:
    """Reads and embeds the inputs. Raises `InputError`, and whatever `control.check` raises.

    Before and after a voice its mouth is silent: the request's frames include all of that.
    """
    voices = [
        _embedded(encoders.voice, voice, request, settings, control) for voice in request.heard
    ]
    if len(voices) == 1 and scene.listeners is not None:
        voices.append(encoders.voice.silent(voices[0].frames))
    needs_negative = Guidance.of(settings).needs_negative
    texts = [prompt, NEGATIVE_PROMPT] if needs_negative else [prompt]
    embedded = encoders.text.embed(texts)
    return RenderJob(
        portrait=scene.portrait,
        prompt=embedded[0],
        negative=embedded[1] if needs_negative else None,
        voices=tuple(voices),
        seed=request.seed,
        frames=request.frames,
        listeners=scene.listeners,
        strength=request.how.expressiveness,
        anchors=scene.anchors,
        cuts=scene.cuts,
    )


def _embedded(
    encoder: VoiceEncoder,
    voice: Voice,
    request: RenderRequest,
    settings: RenderSettings,
    control: Control,
) -> VoiceTrack:
    """A voice with the silence before and after it.

    The model needs at least one window. A shorter voice is followed by the embedding of silence, or
    by silent samples if the settings mirror the voice like upstream.
    """
    control.check()
    start = round(voice.start_seconds * FPS)
    # One that starts at the very end of the video is still heard for a frame.
    left = max(1, request.frames - start)
    samples = read_speech(voice.path)[: left * SAMPLES_PER_FRAME]
    lasts = round(len(samples) / SAMPLES_PER_FRAME)
    # The request's frames are rounded too.
    lasts = left if left - lasts <= 1 else max(1, lasts)
    is_mirrored = settings.tail is Tail.MIRROR
    least = max(_LEAST_EMBEDDED, settings.frames - start if is_mirrored else 0)
    frames = max(lasts, least)
    levelled = level_loudness(samples)
    pauses = pauses_of(levelled) if settings.silent_pauses else ()
    ends = VoiceEnds(start, max(0, left - frames), settings.tail, pauses)
    control.check()
    return encoder.embed(pad_to_frames(levelled, frames), frames, ends)
