"""The acknowledgement handles of the queue entries whose jobs are in this worker's hands."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg

from inference_sidecar.worker.broker import Broker


class Handles:
    """One per job, the newest delivery's; renewed while the job is ours, settled once."""

    def __init__(self, broker: Broker, renew_every_seconds: float) -> None:
        self._broker = broker
        self._renew_every_seconds = renew_every_seconds
        self._messages: dict[str, Msg] = {}

    def take(self, job_id: str, message: Msg) -> None:
        """A delivery of this job's entry; an older one is void by now."""
        self._messages[job_id] = message

    async def ack(self, job_id: str) -> None:
        """The job needs its entry no more."""
        message = self._messages.pop(job_id, None)
        if message is not None:
            await self._broker.ack(message)

    async def nak(self, job_id: str, delay_seconds: float) -> None:
        """Somebody may have the job after the delay."""
        message = self._messages.pop(job_id, None)
        if message is not None:
            await self._broker.nak(message, delay_seconds)

    def forget(self, job_id: str) -> None:
        """The entry is somebody else's affair: neither acked nor handed back."""
        self._messages.pop(job_id, None)

    async def keep(self) -> None:
        """Tells the broker regularly that the entries are still in our hands, until cancelled."""
        while True:
            await asyncio.sleep(self._renew_every_seconds)
            for message in list(self._messages.values()):
                await self._broker.in_progress(message)
