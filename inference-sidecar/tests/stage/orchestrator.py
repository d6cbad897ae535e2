"""A stand-in for the orchestrator: answers as it would, or as a test scripts it."""

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import time
import uuid
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from inference_sidecar.foundation.contracts import gpu_work_subject, stop_subject
from stage.object_store import ObjectStore
from stage.until import PATIENCE_SECONDS, until

Json = dict[str, Any]
TRACE_ID = "1" * 32


@dataclass
class Job:
    job_id: str
    prompt: str
    frames: int
    deadline_seconds: float
    inputs: dict[str, tuple[str, bytes]]
    owner: str = "o_abcDEF123456"
    epoch: int = 0
    state: str = "queued"
    claims: int = 0
    incarnation: str | None = None


@dataclass
class Orchestrator:
    """Answers claims and store requests, records events and heartbeats, and ends jobs.

    on_claim, on_store: may answer instead; None leaves the answer to the stand-in.
    finishes: whether a completed render ends its job.
    """

    client: Client
    store: ObjectStore
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    events: list[Json] = field(default_factory=list[Json])
    event_headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    beats: list[Json] = field(default_factory=list[Json])
    requests: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    on_claim: Callable[[Job], Json | str | None] | None = None
    on_store: Callable[[Job], Json | str | None] | None = None
    finishes: bool = True

    async def start(self) -> None:
        await self.client.subscribe("ctl.request.*", cb=self._answer)
        await self.client.subscribe("beat.*", cb=self._receive_beat)
        await self.client.subscribe("evt.render.>", cb=self._receive_event)
        await self.client.flush()

    async def submit(
        self, prompt: str = "", *, frames: int = 25, deadline_seconds: float = 60.0
    ) -> Job:
        """Makes a job with its inputs in the store and its entry in the queue."""
        job_id = str(uuid.uuid4())
        audio = wav(frames / 25)
        inputs = {
            "image": (f"jobs/{job_id}/input/n-i.png", b"not looked at by the null engine"),
            "audio": (f"jobs/{job_id}/input/n-a.wav", audio),
        }
        for key, content in inputs.values():
            self.store.objects[key] = content
        job = Job(job_id, prompt, frames, deadline_seconds, inputs)
        self.jobs[job_id] = job
        await self.enqueue(job)
        return job

    async def enqueue(self, job: Job) -> None:
        await self.client.jetstream().publish(
            gpu_work_subject(job.job_id),
            json.dumps({"jobId": job.job_id, "owner": job.owner}).encode(),
            headers={"traceparent": f"00-{TRACE_ID}-{'2' * 16}-01"},
        )

    async def stop(self, worker_id: str, job: Job, epoch: int | None = None) -> None:
        order = {"jobId": job.job_id, "epoch": job.epoch if epoch is None else epoch}
        await self.client.publish(stop_subject(worker_id), json.dumps(order).encode())

    async def entry_count(self) -> int:
        return (await self.client.jetstream().stream_info("GPU")).state.messages

    async def empty_queue(self) -> None:
        """Returns when the queue is empty."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while count := await self.entry_count():
            assert time.monotonic() < deadline, f"{count} entries are still in the queue"
            await asyncio.sleep(0.01)

    def events_of(self, job: Job, kind: str | None = None) -> list[Json]:
        return [
            event
            for event in self.events
            if event["jobId"] == job.job_id and kind in {None, event["type"]}
        ]

    async def event(self, job: Job, kind: str, timeout_seconds: float = PATIENCE_SECONDS) -> Json:
        """The first event of this kind about the job."""
        seen = await until(lambda: self.events_of(job, kind), f"{kind} of the job", timeout_seconds)
        return seen[0]

    def held(self, job: Job) -> Json | None:
        """What the last heartbeat says about the job."""
        jobs: list[Json] = self.beats[-1]["jobs"] if self.beats else []
        return next((held for held in jobs if held["jobId"] == job.job_id), None)

    async def _answer(self, message: Msg) -> None:
        request: Json = json.loads(message.data)
        kind = message.subject.rpartition(".")[2]
        self.requests.append((kind, request))
        job = self.jobs[request["jobId"]]
        script = self.on_claim if kind == "claim" else self.on_store
        if kind == "claim":
            job.claims += 1
        answer = script(job) if script else None
        if answer == "silence":
            return
        if answer is None:
            answer = self._claim(job, request) if kind == "claim" else self._grant(job, request)
        await message.respond(json.dumps(answer).encode())

    def _claim(self, job: Job, request: Json) -> Json:
        if job.state == "terminal":
            return {"answer": "drop"}
        if job.state == "open" and job.incarnation == request["incarnation"]:
            return self.order(job)
        if job.state != "queued":
            return {"answer": "later", "delayMs": 200}
        job.state, job.incarnation = "open", request["incarnation"]
        job.epoch += 1
        return self.order(job)

    def order(self, job: Job) -> Json:
        """The answer that grants a claim."""
        return {
            "answer": "render",
            "epoch": job.epoch,
            **{name: self._input(*stored) for name, stored in job.inputs.items()},
            "prompt": job.prompt,
            "seed": 7,
            "frames": job.frames,
            "delivery": {"width": 1280, "height": 720},
            "deadlineSeconds": job.deadline_seconds,
            "traceparent": f"00-{TRACE_ID}-{'2' * 16}-01",
        }

    def _input(self, key: str, content: bytes) -> Json:
        return {"url": self.store.url(key), "bytes": len(content), "sha256": sha256(content)}

    def _grant(self, job: Job, request: Json) -> Json:
        if job.state == "terminal":
            return {"answer": "drop"}
        if request["epoch"] != job.epoch or job.state != "open":
            return {"answer": "lost"}
        key = f"jobs/{job.job_id}/out/{job.epoch}/video.mp4"
        digest = base64.b64encode(bytes.fromhex(request["sha256"])).decode()
        headers = {
            "content-length": str(request["bytes"]),
            "x-amz-checksum-sha256": digest,
            "if-none-match": "*",
        }
        return {"answer": "grant", "key": key, "url": self.store.url(key), "headers": headers}

    async def _receive_beat(self, message: Msg) -> None:
        self.beats.append(json.loads(message.data))

    async def _receive_event(self, message: Msg) -> None:
        event: Json = json.loads(message.data)
        self.events.append(event)
        self.event_headers.append(dict(message.headers or {}))
        job = self.jobs[event["jobId"]]
        if event["epoch"] != job.epoch or job.state != "open":
            return
        kind = event["type"].rpartition(".")[2]
        if kind == "completed" and self.finishes:
            job.state = "terminal"
            await self.stop(event["workerId"], job)
        elif kind in {"failed", "cancelled"}:
            job.state = "terminal"
        elif kind == "released":
            job.state = "queued"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wav(seconds: float) -> bytes:
    """Silence, as a WAV file."""
    buffer = io.BytesIO()
    with contextlib.closing(wave.open(buffer, "wb")) as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\0\0" * round(16_000 * seconds))
    return buffer.getvalue()
