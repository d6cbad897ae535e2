"""Which engine a name stands for; only the chosen one is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Literal, cast

from inference_sidecar.engines.engine import Engine
from inference_sidecar.engines.settings import EngineSettings

EngineName = Literal["preview", "infinitetalk", "null"]


@dataclass(frozen=True)
class EngineSource:
    """Where an engine is found; as text, so that naming an engine does not import its libraries.

    module, factory: the class, which is called with its settings if it has any.
    settings: module and class of its `EngineSettings`.
    packages: what must be installed. remedy: what to do when it is not.
    """

    module: str
    factory: str
    settings: tuple[str, str] | None = None
    packages: tuple[str, ...] = ()
    remedy: str = ""


ENGINES: Final[Mapping[EngineName, EngineSource]] = {
    "preview": EngineSource(
        "inference_sidecar.engines.preview.engine",
        "PreviewEngine",
        packages=("ai_edge_litert", "cv2", "numpy"),
        remedy="install the extra `preview`, or run `npm run setup`",
    ),
    "infinitetalk": EngineSource(
        "inference_sidecar.engines.infinitetalk.engine",
        "InfiniteTalkEngine",
        settings=("inference_sidecar.engines.infinitetalk.settings", "InfiniteTalkSettings"),
        packages=("torch", "diffusers", "transformers", "ai_edge_litert", "cv2"),
        remedy="install the extra `engine`, or run `npm run setup -- --with engine`",
    ),
    "null": EngineSource(
        "inference_sidecar.engines.null.engine",
        "NullEngine",
        settings=("inference_sidecar.engines.null.settings", "NullSettings"),
        packages=("numpy",),
        remedy="install the extra `preview`, or run `npm run setup`",
    ),
}


def missing_parts(name: EngineName) -> str | None:
    """Why this installation cannot run the engine, and what to do; imports no library of it."""
    source = ENGINES[name]
    if not _exists(source.module):
        return f"this installation does not contain the engine `{name}`"
    missing = [package for package in source.packages if not _exists(package)]
    if missing:
        return f"the engine `{name}` needs {', '.join(missing)}: {source.remedy}"
    return None


def settings_class(name: EngineName) -> type[EngineSettings] | None:
    """The class of the engine's settings; None when it has none, or is not installed."""
    settings = ENGINES[name].settings
    if settings is None or not _exists(settings[0]):
        return None
    # The type checker cannot follow a name in text; a test checks the class.
    return cast("type[EngineSettings]", getattr(import_module(settings[0]), settings[1]))


def read_settings(name: EngineName) -> EngineSettings | None:
    """The engine's part of the environment. Raises `ValidationError`."""
    settings = settings_class(name)
    return settings() if settings is not None else None


def make_engine(name: EngineName, settings: EngineSettings | None) -> Engine:
    """The engine of this name, not yet loaded."""
    source = ENGINES[name]
    factory = getattr(import_module(source.module), source.factory)
    return cast("Engine", factory() if settings is None else factory(settings))


def _exists(module: str) -> bool:
    """Whether a module could be imported; imports only the packages that contain it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
