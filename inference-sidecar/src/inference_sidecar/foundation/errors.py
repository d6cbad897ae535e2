"""Every way the sidecar can fail, as one tree.

::

    SidecarError
    ├── InputError             the caller's media          → reject
    │   ├── AudioUnreadable
    │   ├── ImageUnreadable
    │   ├── NoFace
    │   ├── FaceUnusable
    │   │   ├── FaceTurned
    │   │   └── FaceTooSmall
    │   ├── SpeakerNotFound
    │   └── InputGone          deleted before it was fetched
    ├── RenderError            our model or its process    → retry, then reject
    │   ├── RenderFailed
    │   ├── ResumeRefused      a state of another render   → start over
    │   ├── RenderBroken       frames that cannot be right
    │   ├── GpuOutOfMemory     → one retry at the next smaller size class
    │   ├── RenderProcessDied
    │   └── DeadlineExceeded   the job's time is used up   → reject
    ├── StoreError             S3 did not answer           → retry
    └── PublishRefused         the broker will never store this message

    Cancelled                  not a failure: somebody asked for it

The `code` of a leaf is a failure code of the contracts, and the code alone decides what happens
next. Nothing is ever recognised by its message.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference_sidecar.foundation.contracts import FailureCode


class SidecarError(Exception):
    """A failure with a code of the contracts.

    `context` holds what a person needs to understand it (sizes, exit status, the end of a log). It
    travels in events and logs, so it must stay small and JSON-serialisable.
    """

    code: FailureCode = "UNEXPECTED"

    def __init__(self, message: str = "", *, context: Mapping[str, object] | None = None) -> None:
        super().__init__(message or self.code)
        self.context: dict[str, object] = dict(context or {})


class InputError(SidecarError):
    """The caller's media cannot be used; trying again cannot help."""


class AudioUnreadable(InputError):
    """The audio is not PCM WAV, or ends before its header says."""

    code = "AUDIO_UNREADABLE"


class ImageUnreadable(InputError):
    """The image could not be decoded."""

    code = "IMAGE_UNREADABLE"


class NoFace(InputError):
    """The image shows no face. The caller reads the message."""

    code = "NO_FACE"


class FaceUnusable(InputError):
    """The image shows a face that the engine cannot animate. The caller reads the message: it says
    what is wrong and how to mend it."""

    code = "FACE_UNUSABLE"


class FaceTurned(FaceUnusable):
    """The face looks too far to the side."""

    code = "FACE_TURNED"


class FaceTooSmall(FaceUnusable):
    """The face has too few pixels."""

    code = "FACE_TOO_SMALL"


class SpeakerNotFound(InputError):
    """There is no face where the job says that the speaker is. The caller reads the message."""

    code = "SPEAKER_NOT_FOUND"


class InputGone(InputError):
    """An input is no longer in the object store."""

    code = "INPUT_GONE"


class RenderError(SidecarError):
    """Our side failed to render."""

    code = "RENDER_FAILED"


class RenderFailed(RenderError):
    """The engine or the encoder failed in a way that has no class of its own."""


class ResumeRefused(RenderError):
    """The resume state belongs to another request, plan or set of weights."""


class RenderBroken(RenderError):
    """The frames of a chunk cannot be right; the context says which chunk, and what was measured.
    None of them was delivered."""

    code = "RENDER_BROKEN"


class GpuOutOfMemory(RenderError):
    """The render does not fit in the device's memory at this size class."""

    code = "GPU_OUT_OF_MEMORY"


class RenderProcessDied(RenderError):
    """The child process that renders ended without an answer."""

    code = "RENDER_PROCESS_DIED"


class DeadlineExceeded(RenderError):
    """The render took longer than its job may take."""

    code = "DEADLINE_EXCEEDED"


class StoreError(SidecarError):
    """The object store did not answer, or answered with an error of its own."""

    code = "STORE_UNAVAILABLE"


class PublishRefused(SidecarError):
    """The broker refused a message in a way that no retry can change."""

    code = "PUBLISH_REFUSED"


class Cancelled(Exception):
    """The render is no longer wanted.

    Control flow rather than failure, therefore outside the tree: code that catches `SidecarError`
    to report it must not report a cancellation.
    """


class WeightsError(Exception):
    """What is wrong with the weights, and what to do about it, in a sentence or two.

    It is shown to an operator and never holds a token. It stands outside the tree because no job
    fails with it: it stops a command, or an engine's start.
    """
