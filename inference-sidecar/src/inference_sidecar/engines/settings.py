"""What an engine reads from the environment for itself."""

from __future__ import annotations

from inference_sidecar.foundation.settings import Settings


class EngineSettings(Settings):
    """An engine's own variables; each field is one, its name in upper case, with a description.

    Fields begin with the engine's name, so that no two engines mean different things by one
    variable. The module of a subclass imports nothing heavy: the parent process reads the settings
    at start-up to report what is wrong, the render process reads the same environment again.
    """
