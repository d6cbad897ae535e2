"""What goes over the wire to a store, and what becomes of one that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference_sidecar.foundation.contracts import PresignedInput
from inference_sidecar.foundation.errors import StoreError
from inference_sidecar.store.transfers import InputDamaged, StoreAway, StoreRefused, Transfers

SECRET = "X-Amz-Signature=very-secret"
CONTENT = b"what is stored" * 100
STALL_SECONDS = 0.5
MANY_BLOCKS = bytes(range(256)) * (12 << 12)


@dataclass
class RawStore:
    """Answers with these bytes; takes what each request consists of, and how many connected."""

    answer: bytes
    heads: list[str] = field(default_factory=list[str])
    bodies: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0
    reads_bodies: bool = True
    _writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                if not self.reads_bodies:
                    writer.write(self.answer)
                    return
                length = self.headers().get("content-length", "0")
                self.bodies.append(await reader.readexactly(int(length)))
                writer.write(self.answer)

    def headers(self) -> dict[str, str]:
        """Those of the last request."""
        lines = [line.partition(":") for line in self.heads[-1].split("\r\n")[1:] if line]
        return {name.lower(): value.strip() for name, _, value in lines}

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()


def answer(status: int, content: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


@pytest.fixture
async def raw_store() -> AsyncIterator[tuple[RawStore, str]]:
    store = RawStore(answer(200))
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    yield store, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store.hang_up()
    server.close()


@pytest.fixture
async def transfers() -> AsyncIterator[Transfers]:
    own = Transfers(STALL_SECONDS)
    yield own
    await own.close()


def an_input(url: str, content: bytes = CONTENT) -> PresignedInput:
    return PresignedInput(
        url=f"{url}/bucket/a?{SECRET}",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def long_video(tmp_path: Path) -> Path:
    path = tmp_path / "long.mp4"
    path.write_bytes(MANY_BLOCKS)
    return path


async def test_a_signed_url_arrives_as_it_was_signed(
    raw_store: tuple[RawStore, str], transfers: Transfers, video: Path
) -> None:
    store, url = raw_store
    target = (
        "/bucket/jobs%2Fa/%7Ex+y%20z/v.mp4?X-Amz-Credential=a%2Fb&q=%7E%2B+%3d%22&x-id=PutObject"
    )
    assert await transfers.store(video, url + target, {}) == 200
    assert store.heads[-1].startswith(f"PUT {target} HTTP/1.1\r\n")


async def test_an_upload_carries_its_length_and_of_the_others_only_the_granted_headers(
    raw_store: tuple[RawStore, str], transfers: Transfers, video: Path
) -> None:
    store, url = raw_store
    assert await transfers.store(video, f"{url}/v?{SECRET}", {"if-none-match": "*"}) == 200
    headers = store.headers()
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["if-none-match"] == "*"
    assert not {"content-type", "transfer-encoding", "cookie"} & headers.keys()
    assert store.bodies == [CONTENT]


async def test_a_long_file_arrives_whole(
    raw_store: tuple[RawStore, str], transfers: Transfers, long_video: Path, tmp_path: Path
) -> None:
    store, url = raw_store
    length = str(len(MANY_BLOCKS))
    await transfers.store(long_video, f"{url}/v?{SECRET}", {"content-length": length})
    assert store.bodies == [MANY_BLOCKS]

    store.answer = answer(200, MANY_BLOCKS)
    await transfers.fetch(an_input(url, MANY_BLOCKS), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == MANY_BLOCKS


async def test_what_is_stored_compressed_is_not_unpacked(
    raw_store: tuple[RawStore, str], transfers: Transfers, tmp_path: Path
) -> None:
    store, url = raw_store
    store.answer = answer(200, CONTENT, "Content-Encoding: gzip")
    await transfers.fetch(an_input(url), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert store.headers()["accept-encoding"] == "identity"


async def test_a_redirect_is_not_followed(
    raw_store: tuple[RawStore, str], transfers: Transfers, video: Path, tmp_path: Path
) -> None:
    store, url = raw_store
    store.answer = answer(307, b"", f"Location: {url}/elsewhere")
    with pytest.raises(StoreError, match="answered 307 to a GET"):
        await transfers.fetch(an_input(url), tmp_path / "copy")
    with pytest.raises(StoreError, match="answered 307 to a PUT"):
        await transfers.store(video, f"{url}/v?{SECRET}", {})
    assert len(store.heads) == 2


async def test_more_bytes_than_announced_are_not_kept(
    raw_store: tuple[RawStore, str], transfers: Transfers, tmp_path: Path
) -> None:
    store, url = raw_store
    store.answer = answer(200, CONTENT + MANY_BLOCKS)
    with pytest.raises(InputDamaged):
        await transfers.fetch(an_input(url), tmp_path / "copy")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 X\r\nContent-Length: 9",
        answer(200, CONTENT)[:-1],
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "nonsense"],
)
async def test_a_store_that_falls_silent_is_given_up(
    raw_store: tuple[RawStore, str], transfers: Transfers, tmp_path: Path, sent: bytes
) -> None:
    store, url = raw_store
    store.answer = sent
    with pytest.raises(StoreAway) as caught:
        await transfers.fetch(an_input(url), tmp_path / "copy")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_an_upload_that_is_not_taken_or_not_answered_is_given_up(
    raw_store: tuple[RawStore, str], transfers: Transfers, video: Path, long_video: Path
) -> None:
    store, url = raw_store
    store.answer = b""
    with pytest.raises(StoreAway, match="SocketTimeoutError"):
        await transfers.store(video, f"{url}/v?{SECRET}", {})

    store.reads_bodies = False
    with pytest.raises(StoreAway, match="SocketTimeoutError"):
        await transfers.store(long_video, f"{url}/v?{SECRET}", {})


async def test_an_upload_that_is_refused_half_way_is_refused(
    raw_store: tuple[RawStore, str], transfers: Transfers, long_video: Path
) -> None:
    store, url = raw_store
    store.answer, store.reads_bodies = answer(403), False
    with pytest.raises(StoreRefused) as caught:
        await transfers.store(long_video, f"{url}/v?{SECRET}", {})
    assert caught.value.context == {"status": 403}


async def test_a_file_that_has_lost_bytes_is_a_failure_of_our_disk(
    raw_store: tuple[RawStore, str], transfers: Transfers, video: Path, tmp_path: Path
) -> None:
    _, url = raw_store
    with pytest.raises(OSError, match="shorter"):
        await transfers.store(video, f"{url}/v?{SECRET}", {"content-length": "100000"})
    with pytest.raises(FileNotFoundError):
        await transfers.store(tmp_path / "gone", f"{url}/v?{SECRET}", {})


async def test_a_connection_is_used_again_and_one_that_was_closed_is_not(
    raw_store: tuple[RawStore, str], transfers: Transfers, video: Path, tmp_path: Path
) -> None:
    store, url = raw_store
    await transfers.store(video, f"{url}/v?{SECRET}", {})
    store.answer = answer(200, CONTENT)
    await transfers.fetch(an_input(url), tmp_path / "copy")
    assert store.connections == 1

    store.hang_up()
    await transfers.fetch(an_input(url), tmp_path / "copy")
    assert store.connections == 2
