"""The queue entries whose jobs this worker holds, each by the message that acknowledges it."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg

from inference_sidecar.worker.broker import Broker


class Leases:
    """One for each job, the newest delivery: renewed while the job is ours, then settled."""

    def __init__(self, broker: Broker, renew_every_seconds: float) -> None:
        self._broker = broker
        self._renew_every_seconds = renew_every_seconds
        self._messages: dict[str, Msg] = {}

    def take(self, job_id: str, message: Msg) -> None:
        """Keeps the newest delivery of this job's entry; earlier ones are void."""
        self._messages[job_id] = message

    async def ack(self, job_id: str) -> None:
        """Removes the entry from the queue."""
        message = self._messages.pop(job_id, None)
        if message is not None:
            await self._broker.ack(message)

    async def nak(self, job_id: str, delay_seconds: float) -> None:
        """Offers the job to any worker after the delay."""
        message = self._messages.pop(job_id, None)
        if message is not None:
            await self._broker.nak(message, delay_seconds)

    def forget(self, job_id: str) -> None:
        """Leaves the entry as it is, because somebody else owns the job."""
        self._messages.pop(job_id, None)

    async def renew(self) -> None:
        """Extends every lease regularly, until cancelled."""
        while True:
            await asyncio.sleep(self._renew_every_seconds)
            for message in list(self._messages.values()):
                await self._broker.in_progress(message)
