"""The spans that arrive on the bus, as the orchestrator would hand them to a collector."""

# The NATS client is typed in parts only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from stage.until import PATIENCE_SECONDS, until

_OK = 0
_ERROR = 2


@dataclass(frozen=True)
class Seen:
    """One span. error: its `error.type`; None unless its status is an error."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str | None


@dataclass
class SpansOnTheBus:
    """sizes: bytes of each message. services: the names that they came under."""

    subjects: list[str] = field(default_factory=list[str])
    sizes: list[int] = field(default_factory=list[int])
    services: set[str] = field(default_factory=set[str])
    all: list[Seen] = field(default_factory=list[Seen])

    async def listen(self, client: Client) -> None:
        await client.subscribe("telemetry.spans.*", cb=self._receive)
        await client.flush()

    async def _receive(self, message: Msg) -> None:
        self.subjects.append(message.subject)
        self.sizes.append(len(message.data))
        for resource in json.loads(message.data)["resourceSpans"]:
            self.services.add(_attributes(resource["resource"])["service.name"])
            for scope in resource["scopeSpans"]:
                self.all += [_seen(span) for span in scope["spans"]]

    def of(self, job_id: str) -> list[Seen]:
        """Those of one job, in the order of their beginning."""
        found = [span for span in self.all if span.attributes.get("avatar.job.id") == job_id]
        return sorted(found, key=lambda span: span.start_ns)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.all if span.name == name]

    async def have(
        self, job_id: str, *names: str, timeout_seconds: float = PATIENCE_SECONDS
    ) -> list[Seen]:
        """The spans of the job, once there are some of each of these names."""

        def have_come() -> bool:
            return set(names) <= {span.name for span in self.of(job_id)}

        await until(have_come, f"spans {names}", timeout_seconds)
        return self.of(job_id)


def _seen(span: dict[str, Any]) -> Seen:
    attributes = _attributes(span)
    failed = span.get("status", {}).get("code", _OK) == _ERROR
    return Seen(
        span["name"],
        span["traceId"],
        span["spanId"],
        span.get("parentSpanId", ""),
        span["kind"],
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        attributes,
        attributes["error.type"] if failed else None,
    )


def _attributes(of: dict[str, Any]) -> dict[str, Any]:
    values = {each["key"]: each["value"] for each in of.get("attributes", [])}
    return {
        name: int(value["intValue"]) if "intValue" in value else next(iter(value.values()))
        for name, value in values.items()
    }
