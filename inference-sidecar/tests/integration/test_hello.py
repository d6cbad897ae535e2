"""A worker that was woken asks whether it is needed, before it loads anything."""

from __future__ import annotations

import json
from typing import Any

from stage.broker import POOL_USER
from stage.orchestrator import LET_IN, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until

WAKE_ID = "0123456789abcdef01234567"


def hellos(orchestrator: Orchestrator) -> list[dict[str, Any]]:
    return [request for kind, request in orchestrator.requests if kind == "hello"]


def reasons(sidecar: Sidecar) -> list[str]:
    return [line["reason"] for line in sidecar.log() if line["msg"] == "leaving"]


async def test_a_worker_that_is_not_needed_ends_before_it_loads_anything(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_hello = lambda _: {"answer": "leave", "reason": "nobody waits"}
    await orchestrator.submit()
    sidecar.start(WAKE_ID=WAKE_ID, RELEASE="2.1.0", WORKER_POOL="runpod")

    assert await sidecar.ended() == 0

    assert reasons(sidecar) == ["it is not needed: nobody waits"]
    [hello] = hellos(orchestrator)
    assert hello.pop("incarnation")
    assert hello == {
        "workerId": "w1",
        "pool": "runpod",
        "wakeId": WAKE_ID,
        "release": "2.1.0",
        "contracts": 1,
    }
    assert orchestrator.beats == []
    assert orchestrator.asks() == []


async def test_a_worker_that_is_let_in_obeys_the_limits_it_is_told_and_leaves_its_counts(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_hello = lambda _: {**LET_IN, "idleSeconds": 0.5}
    job = await orchestrator.submit("null:seconds=0.5")
    sidecar.start(WAKE_ID=WAKE_ID, NULL_LOAD_SECONDS="1")

    assert await sidecar.ended() == 0

    await until(lambda: orchestrator.beats[-1]["state"] == "gone", "last heartbeat")
    assert job.state == "terminal"
    assert reasons(sidecar) == ["no job for 0.5 s"]
    assert {beat["wakeId"] for beat in orchestrator.beats} == {WAKE_ID}
    percents = [beat["loading"]["percent"] for beat in orchestrator.beats if "loading" in beat]
    assert percents == sorted(percents)
    assert len(set(percents)) > 1, "the client is to see that it goes on"
    assert all(beat["state"] == "loading" for beat in orchestrator.beats if "loading" in beat)
    counts = orchestrator.beats[-1]["counts"]
    assert counts["jobs"] == 1
    assert counts["loadingSeconds"] >= 1
    assert counts["busySeconds"] >= 0.5
    assert counts["idleSeconds"] >= 0.5
    left = json.loads((sidecar.spool_dir / "counts.json").read_text())
    assert left["jobs"] == 1
    assert all("counts" not in beat for beat in orchestrator.beats[:-1])


async def test_limits_given_by_hand_go_before_those_that_are_told(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_hello = lambda _: {**LET_IN, "idleSeconds": 3600}
    sidecar.start(WAKE_ID=WAKE_ID, WORKER_IDLE_SECONDS="0.2")

    assert await sidecar.ended() == 0
    assert reasons(sidecar) == ["no job for 0.2 s"]


async def test_a_worker_asks_until_an_orchestrator_is_there(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    await orchestrator.go_deaf()
    sidecar.start(WAKE_ID=WAKE_ID)
    await until(lambda: sidecar.messages().count("request not answered") >= 2, "two asks")
    await orchestrator.listen()

    await until(lambda: "let in" in sidecar.messages(), "an answer")
    assert sidecar.render_process() is None or hellos(orchestrator)


async def test_a_worker_that_nobody_answers_gives_up(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_hello = lambda _: {"answer": "error", "code": "STORE_UNAVAILABLE"}
    sidecar.start(WAKE_ID=WAKE_ID, TIMINGS_DIVISOR="30")

    assert await sidecar.ended() == 0
    assert reasons(sidecar) == ["nobody has said whether it is needed"]
    assert len(hellos(orchestrator)) >= 3


async def test_a_worker_that_is_stopped_while_it_asks_ends(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    await orchestrator.go_deaf()
    sidecar.start(WAKE_ID=WAKE_ID, TIMINGS_DIVISOR="1")
    await until(lambda: "request not answered" in sidecar.messages(), "an ask")

    await sidecar.close()

    assert sidecar.process is not None
    assert sidecar.process.returncode == 0


async def test_the_user_of_a_pool_without_doorbells_is_given_a_wake_up(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    orchestrator.on_hello = lambda _: {**LET_IN, "wakeId": WAKE_ID}
    sidecar.start(NATS_USER=POOL_USER, WORKER_POOL="k8s")

    await until(lambda: orchestrator.beats, "a heartbeat")
    assert "wakeId" not in hellos(orchestrator)[0]
    assert orchestrator.beats[-1]["wakeId"] == WAKE_ID


async def test_a_worker_beside_its_broker_asks_nobody(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()

    await until(orchestrator.asks, "an ask for a job")
    assert hellos(orchestrator) == []
    assert "wakeId" not in orchestrator.beats[-1]
