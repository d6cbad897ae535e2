"""For engines without a model: they take every job, and say what they leave out of it."""

from __future__ import annotations

from inference_sidecar.engines.engine import QUALITIES, Offers, RenderRequest
from inference_sidecar.foundation.contracts import JobWarning


def offers_of_all(pace: float) -> Offers:
    """Everything, at one pace."""
    return Offers(paces=dict.fromkeys(QUALITIES, pace), speakers=2, video=True)


def warn_of_left_out(
    engine: str, request: RenderRequest, *, takes_speaker: bool
) -> tuple[JobWarning, ...]:
    """One warning that names what the job asks for and this engine does not do; or none."""
    how = request.how
    asked = {
        f"quality {how.quality}": how.quality != "standard",
        "the second voice": len(request.heard) > 1,
        "the source video (its first frame is used)": request.video is not None,
        "the choice of a speaker": how.speaker is not None and not takes_speaker,
        "the places of the speakers": how.speakers is not None,
        "expressiveness": how.expressiveness != 1.0,
        "the camera": how.camera != "auto",
    }
    left_out = [what for what, is_asked in asked.items() if is_asked]
    if not left_out:
        return ()
    return (
        JobWarning(
            code="LEFT_OUT",
            message=f"The engine `{engine}` leaves out: {', '.join(left_out)}.",
        ),
    )
