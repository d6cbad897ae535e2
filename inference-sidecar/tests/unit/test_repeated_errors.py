"""A worker that waits for its broker for hours must not fill the log."""

from __future__ import annotations

import pytest
from aiohttp import WSServerHandshakeError
from aiohttp.client_reqrep import RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from nats.errors import Error as NatsError
from yarl import URL

from inference_sidecar.worker.repeated_errors import RepeatedErrors, kind_of


def a_refusal(status: int, date: str) -> WSServerHandshakeError:
    """What a proxy answers: the text has its headers, and they have the time."""
    headers = CIMultiDictProxy(CIMultiDict({"Date": date}))
    url = URL("wss://bus.example")
    request = RequestInfo(url, "GET", headers, url)
    return WSServerHandshakeError(request, (), status=status, message=date, headers=headers)


def test_errors_that_only_read_differently_are_of_one_kind() -> None:
    first, second = a_refusal(502, "Sun, 29 Nov"), a_refusal(502, "Mon, 30 Nov")
    assert repr(first) != repr(second)
    assert kind_of(first) == kind_of(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a_refusal(502, "now"), a_refusal(403, "now")),
        (ConnectionRefusedError(111, "refused"), ConnectionResetError(104, "reset")),
        (OSError(113, "no route"), OSError(101, "unreachable")),
        (NatsError("nats: authorization violation"), NatsError("nats: maximum connections")),
    ],
)
def test_other_causes_are_of_another_kind(one: Exception, other: Exception) -> None:
    assert kind_of(one) != kind_of(other)


def test_refused_subjects_of_different_jobs_are_of_one_kind() -> None:
    one, other = (
        NatsError(f'nats: permissions violation for publish to "evt.render.started.{job}"')
        for job in ("a", "b")
    )
    assert kind_of(one) == kind_of(other)


def test_lines_come_at_growing_distances_and_count_what_they_leave_out() -> None:
    errors = RepeatedErrors()
    told = [
        (tick // 4, count)
        for tick in range(4 * 3600)
        if (count := errors.note(a_refusal(502, str(tick)), tick / 4)) is not None
    ]
    assert [at for at, _ in told] == [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030]
    assert sum(count for _, count in told) == 4 * told[-1][0] + 1


def test_each_kind_has_a_line_of_its_own_and_is_news_after_a_connection() -> None:
    errors = RepeatedErrors()
    assert errors.note(TimeoutError(), 0.0) == 1
    assert errors.note(a_refusal(502, "now"), 0.1) == 1
    assert errors.note(TimeoutError(), 0.2) is None
    errors.forget()
    assert errors.note(TimeoutError(), 0.3) == 1
