"""The environment is read once, and every mistake is reported at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from inference_sidecar import config as config_module
from inference_sidecar.config import (
    ConfigurationNotValid,
    EngineChoice,
    SidecarConfig,
    load_configuration,
)
from inference_sidecar.describe_configuration import describe
from inference_sidecar.engines.null.settings import NullSettings
from inference_sidecar.foundation.log import configure_log


def a_config(tmp_path: Path, **difference: object) -> SidecarConfig:
    values: dict[str, object] = {
        "nats_url": "nats://127.0.0.1:4222",
        "nats_password": SecretStr("hunter2"),
        "spool_dir": tmp_path,
    }
    return SidecarConfig.model_validate({**values, **difference})


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without mistakes."""
    for name in (*SidecarConfig.model_fields, *NullSettings.model_fields, "nats_password_file"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:4222")
    monkeypatch.setenv("NATS_PASSWORD", "hunter2")
    monkeypatch.setenv("SPOOL_DIR", str(tmp_path))
    monkeypatch.setenv("ENGINE", "null")
    return monkeypatch


def test_the_sidecars_and_its_engines_settings_are_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NULL_LOAD_SECONDS", "2")
    config, settings = load_configuration()
    assert config.engine == "null"
    assert isinstance(settings, NullSettings)
    assert settings.null_load_seconds == 2


def test_every_mistake_is_reported_without_its_value(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NATS_URL", "nats://user:hunter2@host")
    environment.setenv("TIMINGS_DIVISOR", "0")
    environment.setenv("WORKER_ID", "a.b")
    environment.setenv("NULL_LOAD_SECONDS", "hunter2")
    with pytest.raises(ConfigurationNotValid) as error:
        load_configuration()
    lines = str(error.value).splitlines()
    reported = [line.strip().partition(":")[0] for line in lines[1:]]
    assert reported == ["NATS_URL", "WORKER_ID", "TIMINGS_DIVISOR", "NULL_LOAD_SECONDS"]
    assert "hunter2" not in str(error.value)


def test_an_unknown_engine_is_reported_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENGINE", "magic")
    with pytest.raises(ConfigurationNotValid) as error:
        load_configuration()
    assert str(error.value).count("ENGINE: ") == 1
    assert "'infinitetalk'" in str(error.value)
    assert "magic" not in str(error.value)


def test_an_engine_that_is_not_installed_is_a_mistake(environment: pytest.MonkeyPatch) -> None:
    def needs_more(name: str) -> str:
        return f"{name} needs more"

    environment.setattr(config_module, "missing_parts", needs_more)
    environment.delenv("NATS_URL")
    with pytest.raises(ConfigurationNotValid) as error:
        load_configuration()
    assert "  NATS_URL: " in str(error.value)
    assert "  ENGINE: null needs more" in str(error.value)


def test_the_engine_is_preview_unless_another_is_asked_for(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.delenv("ENGINE")
    assert EngineChoice().engine == "preview"


def test_an_unknown_setting_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        a_config(tmp_path, spool_directory="x")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with pytest.raises(ValidationError):
        config.engine = "null"


def test_the_password_is_not_printed(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    assert "hunter2" not in repr(config) + str(config.model_dump(mode="json"))


def test_every_field_is_described() -> None:
    assert [name for name, each in SidecarConfig.model_fields.items() if not each.description] == []


def test_timings_are_divided(tmp_path: Path) -> None:
    config = a_config(tmp_path, timings_divisor=10)
    assert config.timings.beat_every_seconds == pytest.approx(0.2)
    assert config.timings.upload_give_up_seconds == pytest.approx(720)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_may_be_given_as_a_file(
    environment: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "password").write_bytes(f"hunter3{ending}".encode())
    environment.delenv("NATS_PASSWORD")
    environment.setenv("NATS_PASSWORD_FILE", str(tmp_path / "password"))
    config, _ = load_configuration()
    assert config.nats_password.get_secret_value() == "hunter3"


def test_a_secret_given_twice_is_a_mistake(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("NATS_PASSWORD_FILE", str(tmp_path / "absent"))
    environment.delenv("NATS_URL")
    with pytest.raises(ConfigurationNotValid) as error:
        load_configuration()
    assert "NATS_PASSWORD and NATS_PASSWORD_FILE are both given" in str(error.value)
    assert "NATS_URL: " in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "is not text"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_without_its_content(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    environment.delenv("NATS_PASSWORD")
    environment.setenv("NATS_PASSWORD_FILE", str(file))
    with pytest.raises(ConfigurationNotValid) as error:
        load_configuration()
    assert str(file) in str(error.value)
    assert reason in str(error.value)
    assert "hunter2" not in str(error.value)


def test_only_secrets_are_read_from_files(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("w9")
    environment.setenv("WORKER_ID_FILE", str(tmp_path / "id"))
    assert load_configuration()[0].worker_id is None


def test_the_description_marks_secrets_and_what_is_required() -> None:
    described = {each["name"]: each for each in describe(SidecarConfig, "sidecar")}
    marks = {name: (each["isSecret"], each["isRequired"]) for name, each in described.items()}
    assert marks["NATS_PASSWORD"] == (True, True)
    assert marks["NATS_URL"] == (False, True)
    assert marks["WORKER_ID"] == (False, False)


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error", "fatal", "silent"])
def test_every_log_level_of_the_other_services_is_accepted(tmp_path: Path, level: str) -> None:
    configure_log(a_config(tmp_path, log_level=level).log_level)
