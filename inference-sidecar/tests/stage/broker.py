"""A real nats-server on its own disk folder, with the sidecar's own permissions."""

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from inference_sidecar.foundation.contracts import (
    EVENTS_STREAM,
    EVENTS_STREAM_SUBJECT,
    MESSAGE_MAX_BYTES,
    NATS_USER,
    POOL_USER_PREFIX,
    PUBLISH_PERMISSIONS,
    SUBSCRIBE_PERMISSIONS,
    inbox_prefix,
)
from stage.ports import free_port

PASSWORD = "test-password"
STAGE_USER = "stage"
POOL_USER = f"{POOL_USER_PREFIX}k8s"
POOL_INBOX = f"{inbox_prefix(POOL_USER)}.>"


class TestBroker:
    """Can be killed, and started again with the same port and the same files."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port, websocket_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self._port}"
        self.websocket_url = f"ws://127.0.0.1:{websocket_port}"
        conf = {
            "listen": f"127.0.0.1:{self._port}",
            "websocket": {"listen": f"127.0.0.1:{websocket_port}", "no_tls": True},
            "jetstream": {"store_dir": str(directory / "store"), "sync_interval": "always"},
            "accounts": {
                "AVATAR": {
                    "jetstream": "enabled",
                    "users": [
                        {
                            "user": NATS_USER,
                            "password": PASSWORD,
                            "permissions": {
                                "publish": {"allow": list(PUBLISH_PERMISSIONS)},
                                "subscribe": {"allow": list(SUBSCRIBE_PERMISSIONS)},
                            },
                        },
                        {
                            "user": POOL_USER,
                            "password": PASSWORD,
                            "permissions": {
                                "publish": {"allow": [*PUBLISH_PERMISSIONS]},
                                "subscribe": {"allow": [*SUBSCRIBE_PERMISSIONS, POOL_INBOX]},
                            },
                        },
                        {"user": STAGE_USER, "password": PASSWORD},
                    ],
                }
            },
        }
        directory.mkdir(parents=True)
        self._conf: dict[str, Any] = conf
        self._write_conf()

    def _write_conf(self, without: str = "", denied: tuple[str, ...] = ()) -> None:
        conf = copy.deepcopy(self._conf)
        account = conf["accounts"]["AVATAR"]
        account["users"][0]["permissions"]["publish"]["deny"] = list(denied)
        account["users"] = [user for user in account["users"] if user["user"] != without]
        (self._directory / "nats.conf").write_text(json.dumps(conf))

    def throw_out(self, user: str) -> None:
        """Disconnects this user and refuses to let it in again."""
        self._write_conf(without=user)
        self._reload()

    def deny(self, *subjects: str) -> None:
        """The sidecar may not publish to these subjects. Before `start`."""
        self._write_conf(denied=subjects)

    def restore(self) -> None:
        """Everybody may connect, and publish where they should."""
        self._write_conf()
        self._reload()

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        """The broker keeps its connections but does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220 - forks and goes on
            [Path(sys.executable).with_name("nats-server"), "-c", self._directory / "nats.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            assert self._process.poll() is None, "the broker has ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def connect(self) -> Client:
        async def quiet(_: Exception) -> None:
            """Tests break connections on purpose."""

        return await nats.connect(
            self.url,
            user=STAGE_USER,
            password=PASSWORD,
            inbox_prefix="_INBOX_stage",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,
            error_cb=quiet,
        )


async def provision(client: Client) -> None:
    """The stream that a sidecar publishes to, as the provisioning step makes it."""
    stream = {
        "name": EVENTS_STREAM,
        "subjects": [EVENTS_STREAM_SUBJECT],
        "storage": "file",
        "max_msg_size": MESSAGE_MAX_BYTES,
    }
    await _ask(client, f"$JS.API.STREAM.CREATE.{EVENTS_STREAM}", stream)


async def limit_events(client: Client, max_messages: int) -> None:
    """Makes the stream of events reject more messages than this; -1 lifts the limit."""
    stream = {
        "name": EVENTS_STREAM,
        "subjects": [EVENTS_STREAM_SUBJECT],
        "storage": "file",
        "max_msg_size": MESSAGE_MAX_BYTES,
        "max_msgs": max_messages,
        "discard": "new",
    }
    await _ask(client, f"$JS.API.STREAM.UPDATE.{EVENTS_STREAM}", stream)


async def _ask(client: Client, subject: str, body: object) -> None:
    reply = json.loads((await client.request(subject, json.dumps(body).encode(), timeout=10)).data)
    assert "error" not in reply, reply["error"]
