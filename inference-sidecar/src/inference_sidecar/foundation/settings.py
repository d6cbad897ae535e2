"""The environment as typed settings; a secret may also be given as a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from inference_sidecar.foundation.only_match import only_match
from inference_sidecar.foundation.scrub import hide_value

AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""A path that is still right when the working directory changes."""

FolderOrPattern = Annotated[Path, AfterValidator(only_match), AfterValidator(Path.absolute)]
"""A path, or a pattern that matches one."""


class _NotReadable(str):
    """Stands for a secret that could not be read, and says why; validation reports it."""

    __slots__ = ()


class Settings(BaseSettings):
    """Each field is an environment variable, its name in upper case; an empty one is not given.

    A field of type `SecretStr` may instead be given as `NAME_FILE`, the path of a file that holds
    the value; a trailing newline is cut. Validation reports all mistakes at once, without values.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Files come first, so that one given beside its variable is noticed."""
        files = InitSettingsSource(settings_cls, _secrets_in_files(settings_cls))
        return init_settings, files, env_settings

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401, ARG002 - as pydantic calls it
        """Hides each secret in all that leaves the process."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                hide_value(value.get_secret_value())

    @field_validator("*", mode="before")
    @classmethod
    def _was_readable(cls, value: object) -> object:
        if isinstance(value, _NotReadable):
            raise ValueError(value)  # noqa: TRY004 - only this becomes a mistake in pydantic's list
        return value


def mistakes_of(error: ValidationError) -> list[str]:
    """What is wrong with the environment, one line per variable, without any value."""
    return [
        f"{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    ]


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is never shown and may be given as a file."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _secrets_in_files(settings: type[BaseSettings]) -> dict[str, Any]:
    names = [name for name, field in settings.model_fields.items() if is_secret(field)]
    return {name: _read(name.upper()) for name in names if os.environ.get(f"{name.upper()}_FILE")}


def _read(variable: str) -> str:
    path = os.environ[f"{variable}_FILE"]
    if os.environ.get(variable):
        return _NotReadable(f"{variable} and {variable}_FILE are both given")
    try:
        secret = Path(path).read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return _NotReadable(f"{variable}_FILE names {path}, which is not text")
    except OSError as error:
        return _NotReadable(f"{variable}_FILE names {path}: {error.strerror}")
    return secret or _NotReadable(f"{variable}_FILE names {path}, which is empty")
