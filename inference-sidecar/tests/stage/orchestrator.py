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
import uuid
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from inference_sidecar.foundation.contracts import stop_subject
from stage.object_store import ObjectStore
from stage.until import PATIENCE_SECONDS, until

Json = dict[str, Any]
TRACE_ID = "1" * 32


@dataclass
class Job:
    """claims: how often it was given to a worker, repeated answers included. ask: the last one."""

    job_id: str
    prompt: str
    frames: int
    deadline_seconds: float
    inputs: dict[str, tuple[str, bytes]]
    owner: str = "o_abcDEF123456"
    epoch: int = 0
    state: str = "queued"
    claims: int = 0
    ask: str | None = None


@dataclass
class Orchestrator:
    """Answers asks and requests, records events and heartbeats, and ends jobs.

    on_next: may answer an ask before any job is looked for. on_order: called with a job that has
    just been claimed; may answer instead of the order. on_claim, on_store: may answer the requests
    about an attempt. None leaves the answer to the stand-in, "silence" is no answer.
    finishes: whether a completed render ends its job. says_handled: whether the end of an attempt
    that a heartbeat names is answered with a stop order. flags: "01" makes the workers write spans.
    """

    client: Client
    store: ObjectStore
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    events: list[Json] = field(default_factory=list[Json])
    event_headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    beats: list[Json] = field(default_factory=list[Json])
    requests: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    on_next: Callable[[Json], Json | str | None] | None = None
    on_order: Callable[[Job], Json | str | None] | None = None
    on_claim: Callable[[Job], Json | str | None] | None = None
    on_store: Callable[[Job], Json | str | None] | None = None
    finishes: bool = True
    flags: str = "00"
    says_handled: bool = True
    _listening: Subscription | None = None
    _parked: dict[str, tuple[Msg, asyncio.TimerHandle]] = field(
        default_factory=dict[str, tuple[Msg, asyncio.TimerHandle]]
    )

    async def start(self) -> None:
        await self.client.subscribe("beat.*", cb=self._receive_beat)
        await self.client.subscribe("evt.render.>", cb=self._receive_event)
        await self.listen()

    async def listen(self) -> None:
        """Answers asks and requests, as `start` does."""
        self._listening = await self.client.subscribe("ctl.request.>", cb=self._answer)
        await self.client.flush()

    async def go_deaf(self) -> None:
        """From now on nobody answers: there are no responders."""
        assert self._listening is not None
        await self._listening.unsubscribe()
        await self.client.flush()

    async def submit(
        self, prompt: str = "", *, frames: int = 25, deadline_seconds: float = 60.0
    ) -> Job:
        """Makes a job that waits, with its inputs in the store."""
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
        await self.offer()
        return job

    async def offer(self) -> None:
        """Gives the jobs that wait to the asks that are parked."""
        while self._parked and self._waiting() is not None:
            name = next(iter(self._parked))
            message, timer = self._parked.pop(name)
            timer.cancel()
            await self._give(message, name)

    async def queue_again(self, job: Job) -> None:
        """Its attempt was lost."""
        job.state = "queued"
        await self.offer()

    async def stop(self, worker_id: str, job: Job, epoch: int | None = None) -> None:
        order = {"jobId": job.job_id, "epoch": job.epoch if epoch is None else epoch}
        await self.client.publish(stop_subject(worker_id), json.dumps(order).encode())

    def asks(self) -> list[Json]:
        return [request for kind, request in self.requests if kind == "next"]

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
        kind = message.subject.split(".")[2]
        self.requests.append((kind, request))
        if kind == "next":
            await self._answer_ask(message, request)
            return
        job = self.jobs[request["jobId"]]
        script = self.on_claim if kind == "claim" else self.on_store
        answer = script(job) if script else None
        if answer is None:
            answer = self._renew(job, request) if kind == "claim" else self._grant(job, request)
        await _respond(message, answer)

    async def _answer_ask(self, message: Msg, request: Json) -> None:
        name, wait_seconds = request["ask"], request["waitMs"] / 1000
        if name in self._parked:
            self._parked.pop(name)[1].cancel()
        scripted = self.on_next(request) if self.on_next else None
        if scripted is not None:
            await _respond(message, scripted)
        elif self._claimed_under(name) or self._waiting():
            await self._give(message, name)
        elif wait_seconds == 0:
            await _respond(message, {"answer": "none"})
        else:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(wait_seconds, lambda: loop.create_task(self._unpark(name)))
            self._parked[name] = message, timer

    async def _unpark(self, name: str) -> None:
        if name in self._parked:
            await _respond(self._parked.pop(name)[0], {"answer": "none"})

    def _claimed_under(self, name: str) -> Job | None:
        jobs = self.jobs.values()
        return next((job for job in jobs if job.state == "open" and job.ask == name), None)

    def _waiting(self) -> Job | None:
        return next((job for job in self.jobs.values() if job.state == "queued"), None)

    async def _give(self, message: Msg, name: str) -> None:
        """The job claimed under this ask, or the next one that waits."""
        job = self._claimed_under(name)
        if job is None:
            job = self._waiting()
            assert job is not None
            job.state, job.ask = "open", name
            job.epoch += 1
        job.claims += 1
        scripted = self.on_order(job) if self.on_order else None
        await _respond(message, scripted or self.order(job))

    def _renew(self, job: Job, request: Json) -> Json:
        is_its = job.state == "open" and request["epoch"] == job.epoch
        return self.order(job) if is_its else {"answer": "lost"}

    def order(self, job: Job) -> Json:
        """The answer that gives a job to a worker."""
        return {
            "answer": "render",
            "jobId": job.job_id,
            "owner": job.owner,
            "epoch": job.epoch,
            **{name: self._input(*stored) for name, stored in job.inputs.items()},
            "prompt": job.prompt,
            "seed": 7,
            "frames": job.frames,
            "delivery": {"width": 1280, "height": 720},
            "deadlineSeconds": job.deadline_seconds,
            "traceparent": f"00-{TRACE_ID}-{'2' * 16}-{self.flags}",
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
            "content-type": "video/mp4",
            "content-length": str(request["bytes"]),
            "x-amz-checksum-sha256": digest,
            "if-none-match": "*",
        }
        return {"answer": "grant", "key": key, "url": self.store.url(key), "headers": headers}

    async def _receive_beat(self, message: Msg) -> None:
        beat: Json = json.loads(message.data)
        self.beats.append(beat)
        for held in beat["jobs"]:
            job = self.jobs[held["jobId"]]
            is_open = job.state == "open" and job.epoch == held["epoch"]
            if self.says_handled and held["stage"] == "ended" and not is_open:
                await self.stop(beat["workerId"], job, held["epoch"])

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
            await self.queue_again(job)


async def _respond(message: Msg, answer: Json | str) -> None:
    if answer != "silence":
        await message.respond(json.dumps(answer).encode())


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
