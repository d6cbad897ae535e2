"""From a request's files to what the chunk loop takes."""

from __future__ import annotations

from inference_sidecar.engines.engine import Control, RenderRequest, Size
from inference_sidecar.engines.infinitetalk.driver import RenderJob
from inference_sidecar.engines.infinitetalk.encoders.text import NEGATIVE_PROMPT
from inference_sidecar.engines.infinitetalk.guidance import Guidance
from inference_sidecar.engines.infinitetalk.parts import Parts
from inference_sidecar.engines.infinitetalk.portrait import read_portrait
from inference_sidecar.engines.infinitetalk.render_settings import RenderSettings
from inference_sidecar.engines.infinitetalk.speech import (
    SAMPLES_PER_FRAME,
    level_loudness,
    pad_to_frames,
    read_speech,
)


def prepare_job(
    parts: Parts,
    request: RenderRequest,
    size: Size,
    prompt: str,
    settings: RenderSettings,
    control: Control,
) -> RenderJob:
    """Reads and embeds the inputs. Raises `InputError`, and what `control.check` raises.

    The model knows no voice shorter than a window: such a one is followed by silence, and the
    window's frames are cut back to the video's length afterwards.
    """
    control.check()
    portrait = read_portrait(request.image, size)
    frames = max(request.frames, settings.frames)
    samples = level_loudness(read_speech(request.audio)[: request.frames * SAMPLES_PER_FRAME])
    control.check()
    voice = parts.voice.embed(pad_to_frames(samples, frames), frames)
    control.check()
    needs_negative = Guidance(settings.text_guide, settings.audio_guide).needs_negative
    texts = [prompt, NEGATIVE_PROMPT] if needs_negative else [prompt]
    embedded = parts.text.embed(texts)
    return RenderJob(
        portrait=portrait,
        prompt=embedded[0],
        negative=embedded[1] if needs_negative else None,
        voices=(voice,),
        seed=request.seed,
        frames=request.frames,
    )
