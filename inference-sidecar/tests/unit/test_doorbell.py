"""What happens at a doorbell: a sidecar is run to its end, and told to end when that is wished."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from inference_sidecar.runpod_worker.doorbell import drain
from inference_sidecar.runpod_worker.fitness import NotFit, check_broker, check_weights
from stage.until import until

WAKE_ID = "0123456789abcdef01234567"
DRAIN = {"kind": "drain", "wakeId": WAKE_ID}
COUNTS = {"jobs": 2, "busySeconds": 20.0, "loadingSeconds": 5.0, "idleSeconds": 30.0}


def program(tmp_path: Path, text: str) -> tuple[str, ...]:
    """A stand-in for the sidecar."""
    file = tmp_path / "sidecar.py"
    file.write_text(f"import json, os, pathlib, signal, sys, time\n{text}")
    return sys.executable, str(file)


async def test_the_counts_of_a_sidecar_are_the_output_of_its_job(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        "spool = pathlib.Path(os.environ['SPOOL_DIR'])\n"
        "(spool / 'seen').write_text(json.dumps(dict(os.environ)))\n"
        f"(spool / 'counts.json').write_text('{json.dumps(COUNTS)}')\n",
    )
    environment = {"SPOOL_DIR": str(tmp_path), "RUNPOD_AI_API_KEY": "key", "ENGINE": "null"}

    output = await drain(DRAIN, environment, command)

    assert output == {"wakeId": WAKE_ID, "exitStatus": 0, "counts": COUNTS}
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["WAKE_ID"], seen["ENGINE"]) == (WAKE_ID, "null")
    assert "RUNPOD_AI_API_KEY" not in seen
    assert not (tmp_path / "counts.json").exists(), "the next doorbell must not find them"


async def test_a_sidecar_that_fails_is_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text(json.dumps(COUNTS))
    command = program(tmp_path, "sys.exit(2)")

    output = await drain(DRAIN, {"SPOOL_DIR": str(tmp_path)}, command)

    assert output["exitStatus"] == 2
    assert output["error"] == "the sidecar ended with status 2"
    assert output["counts"] is None, "those of an earlier doorbell are not its own"


async def test_a_job_that_is_stopped_ends_its_sidecar_in_order(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        "spool = pathlib.Path(os.environ['SPOOL_DIR'])\n"
        "def end(*_):\n"
        "    (spool / 'ended').write_text('in order')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "(spool / 'begun').touch()\n"
        "while True: time.sleep(1)\n",
    )
    draining = asyncio.create_task(drain(DRAIN, {"SPOOL_DIR": str(tmp_path)}, command))
    await until((tmp_path / "begun").exists, "the sidecar")

    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining

    assert (tmp_path / "ended").read_text() == "in order"


@pytest.mark.parametrize(
    "doorbell",
    [None, {}, {"kind": "sign-of-life"}, {"kind": "drain", "wakeId": "../x"}, {"wakeId": WAKE_ID}],
)
async def test_whatever_is_no_doorbell_starts_nothing(tmp_path: Path, doorbell: object) -> None:
    command = program(tmp_path, "sys.exit(3)")
    assert await drain(doorbell, {"SPOOL_DIR": str(tmp_path)}, command) == {"ignored": True}


async def test_a_machine_that_does_not_reach_the_broker_is_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("NATS_URL", f"ws://127.0.0.1:{port}")
    await check_broker()
    server.close()
    await server.wait_closed()
    with pytest.raises(NotFit, match="is not reached"):
        await check_broker()
    monkeypatch.setenv("NATS_URL", "")
    with pytest.raises(NotFit, match="names no broker"):
        await check_broker()


def test_weights_are_known_to_be_there_by_their_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_weights()  # Other engines need none.
    monkeypatch.setenv("ENGINE", "infinitetalk")
    monkeypatch.setenv("MODEL_STORAGE_PATH", str(tmp_path))
    with pytest.raises(NotFit, match="has no transformer"):
        check_weights()
    (tmp_path / "resident").mkdir()
    file = tmp_path / "resident" / "transformer-fp8.safetensors"
    file.write_bytes((2).to_bytes(8, "little") + b"{}")
    check_weights()
    file.write_bytes((200).to_bytes(8, "little") + b"{}")
    with pytest.raises(NotFit, match="is cut off"):
        check_weights()


def test_weights_may_be_found_by_a_pattern_with_one_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE", "infinitetalk")
    monkeypatch.setenv("MODEL_STORAGE_PATH", str(tmp_path / "snapshots" / "*"))
    with pytest.raises(NotFit, match="must match one folder, and matches 0"):
        check_weights()
    resident = tmp_path / "snapshots" / "1f6c" / "resident"
    resident.mkdir(parents=True)
    (resident / "transformer-fp8.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    check_weights()
    (tmp_path / "snapshots" / "2a7d").mkdir()
    with pytest.raises(NotFit, match="matches 2"):
        check_weights()
