"""Requests to the hub, or to a mirror with the same API: lists of files, and their bytes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self, cast
from urllib.parse import quote

import httpx

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.manifest import WeightFile

HUB: Final = "https://huggingface.co"
_TIMEOUT: Final = httpx.Timeout(30, connect=15)
_MAX_REDIRECTS: Final = 5
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Transient(Exception):
    """A failure that may not repeat. retry_after_seconds: the pause that the server asked for."""

    def __init__(self, message: str, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it: large ones with their SHA-256, small ones with their git blob
    SHA-1."""

    size: int
    sha256: str | None
    git_sha1: str | None


class _Token(httpx.Auth):
    """Sends the token to the configured origin, and never to an origin that it redirects to.

    httpx drops the header on a redirect to another origin, and this class does not add it there.
    """

    def __init__(self, token: str, origin: httpx.URL) -> None:
        self._token = token
        self._origin = origin

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        url, own = request.url, self._origin
        if (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port):
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class Hub:
    """A connection to one hub. Requests raise `Transient`, or `WeightsError` for permanent
    failures."""

    def __init__(self, base: str = HUB, token: str | None = None) -> None:
        try:
            self._base = httpx.URL(base.rstrip("/"))
        except httpx.InvalidURL as cause:
            raise WeightsError(f"{base!r} is not the address of a hub.") from cause
        if self._base.scheme not in {"http", "https"} or not self._base.host:
            raise WeightsError(f"{base!r} is not the address of a hub.")
        if self._base.userinfo:
            raise WeightsError("The hub's address contains credentials: use HF_TOKEN instead.")
        is_private = self._base.scheme == "https" or self._base.host in _LOOPBACK
        # The token must not be sent unencrypted to another machine.
        self._has_token = bool(token) and is_private
        self._client = httpx.Client(
            auth=_Token(token, self._base) if token and is_private else None,
            timeout=_TIMEOUT,
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
            headers={"Accept-Encoding": "identity", "User-Agent": "avatar-api-weights/1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def name(self) -> str:
        """The host, for messages."""
        return self._base.netloc.decode("ascii")

    def list_files(self, repository: str, revision: str) -> Mapping[str, HubFile]:
        """Every file of a revision by its path."""
        url: str | None = f"{self._base}/api/models/{repository}/tree/{revision}?recursive=true"
        files: dict[str, HubFile] = {}
        while url:
            with _translated():
                response = self._client.get(url)
                self._require_success(response, f"{repository} at {revision}")
            try:
                files.update(_stated(response.json()))
            except (ValueError, KeyError, TypeError, AttributeError) as cause:
                raise WeightsError(
                    f"{self.name} lists {repository} in an unknown format: put the bytes and sha256"
                    " of each file into the manifest, and no list is needed."
                ) from cause
            url = response.links.get("next", {}).get("url")
        return files

    @contextmanager
    def open(self, file: WeightFile, headers: Mapping[str, str]) -> Generator[httpx.Response]:
        """A streaming response with the file's bytes; its status is 200, 206 or 416."""
        url = f"{self._base}/{file.repository}/resolve/{file.revision}/{quote(file.path)}"
        with _translated(), self._client.stream("GET", url, headers=headers) as response:
            if response.status_code not in {200, 206, 416}:
                self._require_success(response, f"{file.path} of {file.repository}")
            yield response

    def _require_success(self, response: httpx.Response, what: str) -> None:
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        if status in _TRANSIENT:
            raise Transient(f"{self.name} answered {status}", _retry_after(response))
        raise WeightsError(self._remedy(status, what))

    def _remedy(self, status: int, what: str) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            wrong = "HF_TOKEN is not valid there" if self._has_token else "it needs a token"
            return (
                f"{self.name} denies access to {what} (401): {wrong}. Put a token that may read it"
                " into HF_TOKEN."
            )
        if status == HTTPStatus.FORBIDDEN:
            return (
                f"{self.name} refuses {what} (403): accept its terms on its page, with the account"
                " that HF_TOKEN belongs to."
            )
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            return (
                f"{self.name} has no {what} ({status}): check the revision in the manifest, and"
                " --from if it names a mirror."
            )
        return f"{self.name} answered {status} for {what}: check --from and the network's proxy."


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except httpx.TooManyRedirects as cause:
        raise WeightsError("The hub redirects in a circle: check --from.") from cause
    except (httpx.TransportError, httpx.StreamError) as cause:
        raise Transient(f"the connection failed ({type(cause).__name__})") from cause


def _stated(entries: object) -> dict[str, HubFile]:
    files: dict[str, HubFile] = {}
    for entry in cast("list[dict[str, Any]]", entries):
        if entry.get("type") != "file":
            continue
        large = cast("dict[str, Any] | None", entry.get("lfs"))
        files[str(entry["path"])] = HubFile(
            size=int(entry["size"]),
            sha256=str(large["oid"]).removeprefix("sha256:") if large else None,
            git_sha1=None if large else str(entry["oid"]),
        )
    return files


def _retry_after(response: httpx.Response) -> float:
    """In seconds. A date instead of a number is ignored."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0
