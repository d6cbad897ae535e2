"""The registry finds an engine, its settings and its missing packages without importing others."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from inference_sidecar.engines import registry
from inference_sidecar.engines.null.settings import NullSettings
from inference_sidecar.engines.registry import (
    ENGINES,
    EngineName,
    EngineSource,
    make_engine,
    missing_parts,
    read_settings,
    settings_class,
)
from inference_sidecar.engines.settings import EngineSettings

IN_PLACE = [name for name in ENGINES if missing_parts(name) is None]


def test_every_installation_has_the_engines_preview_and_null() -> None:
    assert {"preview", "null"} <= set(IN_PLACE)


@pytest.mark.parametrize("name", ["preview", "null"])
def test_an_engine_has_the_name_that_selects_it(name: EngineName) -> None:
    assert make_engine(name, read_settings(name)).name == name


def test_missing_packages_are_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = EngineSource("inference_sidecar.nowhere.engine", "Engine")
    poor = EngineSource(
        "inference_sidecar.engines.null.engine",
        "NullEngine",
        packages=("no_such",),
        remedy="get it",
    )
    monkeypatch.setattr(registry, "ENGINES", {"infinitetalk": absent, "null": poor})
    assert missing_parts("infinitetalk") == (
        "this installation does not contain the engine `infinitetalk`"
    )
    assert missing_parts("null") == "the engine `null` needs no_such: get it"


def test_an_engine_that_is_not_installed_has_no_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = EngineSource("x.engine", "E", settings=("inference_sidecar.nowhere.settings", "S"))
    monkeypatch.setattr(registry, "ENGINES", {"null": absent})
    assert settings_class("null") is None
    assert read_settings("null") is None


def test_an_engine_reads_its_own_part_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NULL_SECONDS_PER_VIDEO_SECOND", "1.5")
    settings = read_settings("null")
    assert isinstance(settings, NullSettings)
    assert make_engine("null", settings).load().seconds_per_video_second == 1.5

    monkeypatch.setenv("NULL_SECONDS_PER_VIDEO_SECOND", "-1")
    with pytest.raises(ValidationError):
        read_settings("null")


@pytest.mark.parametrize("name", ENGINES)
def test_settings_begin_with_the_engines_name_and_are_described(name: EngineName) -> None:
    settings: type[EngineSettings] | None = settings_class(name)
    fields = {} if settings is None else settings.model_fields
    # The specification names the variable for the folder of the weights.
    strangers = [f for f in fields if not f.startswith(name) and f != "model_storage_path"]
    assert strangers == []
    assert [f for f, each in fields.items() if not each.description] == []


@pytest.mark.parametrize("name", ENGINES)
def test_the_parent_imports_no_library_of_any_engine(name: EngineName) -> None:
    program = (
        f"import sys, inference_sidecar.config, inference_sidecar.engines.registry as e;"
        f"e.missing_parts({name!r}); e.settings_class({name!r});"
        "print([m for m in ('numpy', 'cv2', 'torch', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
