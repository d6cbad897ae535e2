"""One way to log a failure: its code decides the level."""

from __future__ import annotations

from inference_sidecar.foundation.contracts import FAILURES, FailureCode
from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.foundation.log import Log

_LEVELS = {"us": Log.error, "dependency": Log.warning, "caller": Log.info}


def log_failure(
    log: Log, failure: SidecarError | FailureCode, message: str, **keys: object
) -> None:
    """Logs at the level that the failure table gives the code: by whom it blames.

    Our own failures are errors, those of a dependency warnings, the caller's infos. An error brings
    itself as `err`, its context as the details, unless `keys` say otherwise.
    """
    if isinstance(failure, SidecarError):
        keys = {"err": failure, **keys}
    code = failure.code if isinstance(failure, SidecarError) else failure
    blame = FAILURES[code]
    _LEVELS[blame](log, message, **{**keys, "code": code, "blame": blame})
