"""Turns the files of a request into the tensors that the chunk loop takes."""

from __future__ import annotations

from typing import Final

from inference_sidecar.engines.engine import Control, RenderRequest, Size
from inference_sidecar.engines.infinitetalk.inputs.portrait import read_portrait
from inference_sidecar.engines.infinitetalk.inputs.speech import (
    SAMPLES_PER_FRAME,
    level_loudness,
    pad_to_frames,
    read_speech,
)
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import RenderJob
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import TextEncoder, VoiceEncoder
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings, Tail

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


def prepare_job(
    text: TextEncoder,
    voice: VoiceEncoder,
    request: RenderRequest,
    size: Size,
    prompt: str,
    settings: RenderSettings,
    control: Control,
) -> RenderJob:
    """Reads and embeds the inputs. Raises `InputError`, and whatever `control.check` raises.

    The model needs a voice of at least one window. A shorter one is followed by the embedding of
    silence, or by silent samples if the settings mirror the voice like upstream; the window's
    frames are cut to the length of the video afterwards.
    """
    control.check()
    portrait = read_portrait(request.image, size)
    ends = settings.voice_ends
    least = settings.frames if ends.tail is Tail.MIRROR else _LEAST_EMBEDDED
    frames = max(request.frames, least)
    samples = level_loudness(read_speech(request.audio)[: request.frames * SAMPLES_PER_FRAME])
    control.check()
    track = voice.embed(pad_to_frames(samples, frames), frames, ends)
    control.check()
    needs_negative = Guidance.of(settings).needs_negative
    texts = [prompt, NEGATIVE_PROMPT] if needs_negative else [prompt]
    embedded = text.embed(texts)
    return RenderJob(
        portrait=portrait,
        prompt=embedded[0],
        negative=embedded[1] if needs_negative else None,
        voices=(track,),
        seed=request.seed,
        frames=ends.lead_frames + request.frames + ends.tail_frames,
    )
