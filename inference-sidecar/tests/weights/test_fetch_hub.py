"""A hub that fails, lies, refuses and redirects."""

from __future__ import annotations

import hashlib

import pytest

from inference_sidecar.foundation.errors import WeightsError
from stage.hub import (
    LARGE,
    LARGE_SHA256,
    OTHER,
    Answer,
    FakeHub,
    World,
    says,
)


def test_a_hub_that_contradicts_the_manifest_is_refused(world: World, hub: FakeHub) -> None:
    world.write_manifest(f'path = "large.bin"\nsha256 = "{"b" * 64}"')
    with pytest.raises(WeightsError, match="nothing was taken"):
        world.fetch()
    assert hub.requests_for("resolve/" + "a" * 40 + "/large.bin") == []


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_failing_hub_is_retried_three_times(world: World, hub: FakeHub, code: int) -> None:
    hub.faults["large.bin"] += [says(code)] * 3
    world.fetch()
    assert len(hub.requests_for("large.bin")) == 4
    assert world.read("large.bin") == LARGE


def test_after_three_retries_the_fetch_fails_with_advice(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [says(503)] * 9
    with pytest.raises(WeightsError, match=r"answered 503, also after 3 retries"):
        world.fetch()
    assert len(hub.requests_for("large.bin")) == 4


def test_pauses_double_and_a_server_may_ask_for_longer_ones(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [says(503), says(503), says(503, Retry_After="1")]
    world.fetch()
    pauses = [
        line.split(" in ")[-1] for line in world.said.getvalue().splitlines() if "retry" in line
    ]
    assert pauses == ["0.01 s", "0.02 s", "1 s"]


def test_the_list_is_retried_too(world: World, hub: FakeHub) -> None:
    hub.faults["list"] += [says(503), says(503)]
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_wrong_content_is_deleted_and_refused(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"].append(lambda answer: answer.send(content=OTHER))
    with pytest.raises(WeightsError) as error:
        world.fetch()
    assert hashlib.sha256(OTHER).hexdigest() in str(error.value)
    assert LARGE_SHA256 in str(error.value)
    assert not (world.volume / "model/large.bin").exists()
    assert "large.bin.part" not in world.leftovers()


def test_wrong_content_of_a_small_file_is_refused_by_its_git_hash(
    world: World, hub: FakeHub
) -> None:
    hub.faults["folder/small.json"].append(lambda answer: answer.send(content=b'{"a": 2}'))
    with pytest.raises(WeightsError, match=r"folder/small.json is not what was pinned"):
        world.fetch()
    assert not (world.volume / "model/folder/small.json").exists()


@pytest.mark.parametrize("announced", [200_000, 400_000])
def test_a_wrong_content_length_is_retried(world: World, hub: FakeHub, announced: int) -> None:
    hub.faults["large.bin"].append(lambda answer: answer.send(announced=announced))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert f"announced {announced} bytes instead of 300000" in world.said.getvalue()


def test_a_web_page_instead_of_the_file_is_refused(world: World, hub: FakeHub) -> None:
    page = b"<html>Please log in</html>"
    hub.faults["large.bin"] += [lambda answer: answer.send(content=page)] * 9
    with pytest.raises(WeightsError, match="announced 26 bytes instead of 300000"):
        world.fetch()
    # The other file may have been on its way.
    assert not [name for name in world.leftovers() if name.startswith("large.bin")]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (401, r"\(401\).*HF_TOKEN"),
        (403, r"\(403\).*accept its terms"),
        (404, r"\(404\).*check the revision"),
        (418, r"418.*proxy"),
    ],
)
def test_client_errors_are_not_retried_and_say_what_to_do(
    world: World, hub: FakeHub, code: int, remedy: str
) -> None:
    hub.faults["large.bin"] += [says(code)] * 9
    with pytest.raises(WeightsError, match=remedy):
        world.fetch()
    assert len(hub.requests_for("large.bin")) == 1


def test_a_file_that_the_revision_lacks_is_named(world: World) -> None:
    world.write_manifest('path = "absent.bin"')
    with pytest.raises(WeightsError, match=r"has no absent.bin in maker/model"):
        world.fetch()


def test_an_unreachable_hub_is_retried_and_then_reported(world: World, hub: FakeHub) -> None:
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(WeightsError, match="list of maker/model: the connection failed"):
        world.fetch()


def test_the_token_is_sent_to_the_hub_and_not_to_hosts_it_redirects_to(
    world: World, hub: FakeHub, other_host: FakeHub
) -> None:
    other_host.files["bytes-of-large"] = LARGE
    target = f"{other_host.url}/bytes-of-large?signature=s"
    other_host.files["bytes-of-large?signature=s"] = LARGE
    hub.faults["large.bin"].append(says(302, Location=target))
    world.fetch(token="hf_secret")
    assert world.read("large.bin") == LARGE
    assert {one.headers.get("Authorization") for one in hub.asked} == {"Bearer hf_secret"}
    assert [one.headers.get("Authorization") for one in other_host.asked] == [None]
    written = "".join(p.read_text("latin1") for p in world.volume.rglob("*.json"))
    assert "hf_secret" not in world.said.getvalue() + written


def test_the_token_does_not_follow_a_list_to_another_host(
    world: World, hub: FakeHub, other_host: FakeHub
) -> None:
    other_host.files.update(hub.files)
    link = f'<{other_host.url}/api/models/maker/model/tree/x?page=0>; rel="next"'

    def first_page(answer: Answer) -> None:
        answer.handler.send_response(200)
        answer.handler.send_header("Link", link)
        answer.handler.send_header("Content-Length", "2")
        answer.handler.end_headers()
        answer.handler.wfile.write(b"[]")

    hub.faults["list"].append(first_page)
    world.fetch(token="hf_secret")
    assert other_host.asked
    assert all("Authorization" not in one.headers for one in other_host.asked)


def test_no_message_contains_the_token(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [says(401)]
    with pytest.raises(WeightsError, match="HF_TOKEN is not valid there") as error:
        world.fetch(token="hf_secret")
    assert "hf_secret" not in str(error.value) + world.said.getvalue()
