"""The environment is read once, and every mistake is told at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from inference_sidecar.config import SidecarConfig, describe_mistakes


def a_config(tmp_path: Path, **difference: object) -> SidecarConfig:
    values: dict[str, object] = {
        "nats_url": "nats://127.0.0.1:4222",
        "nats_password": SecretStr("hunter2"),
        "spool_dir": tmp_path,
    }
    return SidecarConfig.model_validate({**values, **difference})


def test_every_mistake_is_told_without_its_value(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as error:
        a_config(
            tmp_path,
            nats_url="nats://user:hunter2@host",
            engine="magic",
            timings_divisor=0,
            worker_id="a.b",
        )
    text = describe_mistakes(error.value)
    for name in ("NATS_URL", "ENGINE", "TIMINGS_DIVISOR", "WORKER_ID"):
        assert f"  {name}: " in text
    assert "hunter2" not in text


def test_an_unknown_name_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        a_config(tmp_path, spool_directory="x")


def test_nothing_can_be_changed_afterwards(tmp_path: Path) -> None:
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
