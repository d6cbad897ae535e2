"""What the spans of one job cost its worker, in ms of processor time, with the job sampled and not.

.venv/bin/python bench/tracing/worker.py [--rounds 5] [--jobs 50] [--every-seconds 0.1]

Where jobs come at a pace, the code is cold whenever one does, as it is in a worker.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from inference_sidecar.foundation.log import configure_log
from inference_sidecar.telemetry.spans import Spans

TRACE_ID = "1" * 32


async def write_spans(spans: Spans, flags: str, number: int) -> None:
    """The nine spans of a job of one chunk: as many as the `null` engine's jobs have."""
    job_id = f"00000000-0000-4000-8000-{number:012}"
    attempt = spans.attempt(f"00-{TRACE_ID}-{'2' * 16}-{flags}", job_id, 1)
    for name in ("fetch image", "fetch audio"):
        with attempt.begin(name, kind="client") as span:
            await asyncio.sleep(0)
            span.set({"avatar.bytes": 90_000, "avatar.tries": 1})
    started = attempt.begin("publish evt.render.started.{job}", message(job_id), kind="producer")
    started.end()
    render = attempt.begin(
        "render",
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "avatar",
            "gen_ai.request.model": "null",
            "gen_ai.request.seed": 7,
            "gen_ai.output.type": "video",
            "avatar.engine": "null",
            "avatar.size": "720p",
        },
    )
    now = time.time_ns()
    for name in ("prepare", "chunk"):
        render.begin(name, {"avatar.frames": 25}, start_ns=now).end(end_ns=now + 1_000_000)
    render.set({"avatar.frames": 25, "avatar.degraded": False, "avatar.resumed_chunks": 0})
    render.end()
    with attempt.begin("finish file"):
        await asyncio.sleep(0)
    with attempt.begin("upload", kind="client") as upload:
        upload.set({"avatar.bytes": 300_000, "http.response.status_code": 200})
    attempt.begin("publish evt.render.completed.{job}", message(job_id), kind="producer").end()


def message(job_id: str) -> dict[str, str]:
    """The attributes of a message that is sent."""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.template": "evt.render.completed.{job}",
        "messaging.message.id": f"{job_id}:render.completed:1",
    }


async def measure(flags: str, jobs: int, every_seconds: float) -> float:
    """Milliseconds of processor time a job."""
    sent: list[bytes] = []

    async def publish(data: bytes) -> bool:
        sent.append(data)
        return True

    spans = Spans("w1", publish, configure_log("warn", sys.stderr))
    before = time.process_time()
    for number in range(jobs):
        await write_spans(spans, flags, number)
        await asyncio.sleep(every_seconds)
    await spans.close()
    return (time.process_time() - before) * 1000 / jobs


async def main() -> None:
    """Takes turns, and prints least and median."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--every-seconds", type=float, default=0.1)
    given = parser.parse_args()
    costs: dict[str, list[float]] = {"00": [], "01": []}
    for turn in range(given.rounds + 1):
        for flags, seen in costs.items():
            cost = await measure(flags, given.jobs, given.every_seconds)
            if turn > 0:
                seen.append(cost)
    off, on = costs.values()
    for name, seen in (("not sampled", off), ("sampled", on)):
        least, middle = min(seen), statistics.median(seen)
        sys.stdout.write(f"{name}: least {least:.2f}, median {middle:.2f} ms a job\n")


if __name__ == "__main__":
    asyncio.run(main())
