"""What a job asks for, from the words of the order to those of the engines."""

from __future__ import annotations

from inference_sidecar.engines.engine import Box, How
from inference_sidecar.foundation.contracts import FaceBox, RenderOptions


def how_of(options: RenderOptions | None) -> How:
    """What an engine is told; whatever a job does not ask for stays as it usually is."""
    if options is None:
        return How()
    usual = How()
    speaker, speakers = options.speaker, options.speakers
    return How(
        quality=options.quality or usual.quality,
        speaker=_box(speaker) if isinstance(speaker, FaceBox) else speaker,
        speakers=(_box(speakers[0]), _box(speakers[1])) if speakers else None,
        lead_seconds=options.lead_seconds or 0.0,
        tail_seconds=options.tail_seconds or 0.0,
        expressiveness=options.expressiveness or usual.expressiveness,
        camera=options.camera or usual.camera,
        video_end=options.video_end or usual.video_end,
    )


def _box(box: FaceBox) -> Box:
    return Box(box.left, box.top, box.right, box.bottom)
