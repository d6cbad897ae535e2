"""The manifest: the files of the model, each at a fixed revision of its repository."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from inference_sidecar.foundation.errors import WeightsError

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_KEYS: Final = frozenset({"path", "name", "bytes", "sha256"})

MAIN_PART: Final = "model"


@dataclass(frozen=True)
class WeightFile:
    """One file.

    path: in its repository. local: below the weights folder, with forward slashes.
    size (bytes), sha256: None if the first fetch takes them from the hub. part: `model`, or an
    optional part.
    """

    repository: str
    revision: str
    path: str
    local: str
    size: int | None
    sha256: str | None
    part: str


def read_manifest(
    path: Path | None = None, parts: Sequence[str] = (MAIN_PART,)
) -> tuple[WeightFile, ...]:
    """The files of these parts, from the packaged manifest or from `path`. Raises
    `WeightsError`."""
    name = str(path) if path else "the packaged manifest"
    try:
        packaged = resources.files("inference_sidecar.weights") / "manifest.toml"
        text = (path or packaged).read_text("utf-8")
        content = tomllib.loads(text)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise WeightsError(f"{name} cannot be read: {cause}.") from cause
    try:
        files = tuple(
            file
            for repository in _tables(content["repository"])
            for file in _files_of(repository)
            if file.part in parts
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise WeightsError(f"{name} is not a manifest: {cause}.") from cause
    _refuse_collisions(files, name)
    if not files:
        raise WeightsError(f"{name} has no files of {' or '.join(parts)}.")
    return files


def _files_of(repository: dict[str, Any]) -> list[WeightFile]:
    identity = str(repository["id"])
    if not _REPOSITORY.fullmatch(identity):
        raise ValueError(f"{identity!r} is no repository")
    revision = str(repository["revision"])
    if not _COMMIT.fullmatch(revision):
        # A branch or tag can change its files.
        raise ValueError(f"the revision of {identity} is no commit (40 hexadecimal digits)")
    return [_file_of(repository, identity, revision, file) for file in _tables(repository["file"])]


def _file_of(
    repository: dict[str, Any], identity: str, revision: str, file: dict[str, Any]
) -> WeightFile:
    path = str(file["path"])
    if unknown := set(file) - _FILE_KEYS:
        raise ValueError(f"{path} has the unknown keys {', '.join(sorted(unknown))}")
    size, sha256 = file.get("bytes"), file.get("sha256")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise ValueError(f"the bytes of {path} are {size!r}")
    if sha256 is not None and not _SHA256.fullmatch(str(sha256)):
        raise ValueError(f"the sha256 of {path} is {sha256!r}")
    local = PurePosixPath(str(repository["folder"])) / str(file.get("name", path))
    if local.is_absolute() or ".." in local.parts or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path} would leave its folder")
    return WeightFile(
        repository=identity,
        revision=revision,
        path=path,
        local=str(local),
        size=size,
        sha256=sha256,
        part=str(repository.get("part", MAIN_PART)),
    )


def _tables(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise TypeError("a list of tables is missing")
    tables = cast("list[object]", value)
    if not all(isinstance(table, dict) for table in tables):
        raise TypeError("a list holds something that is no table")
    return cast("list[dict[str, Any]]", tables)


def _refuse_collisions(files: Sequence[WeightFile], name: str) -> None:
    seen: set[str] = set()
    for file in files:
        if file.local in seen:
            raise WeightsError(f"{name} names {file.local} twice.")
        seen.add(file.local)
