"""A fetch goes on where an earlier one broke off, if that is still the same file."""

from __future__ import annotations

import pytest

from inference_sidecar.foundation.errors import WeightsError
from stage.hub import (
    LARGE,
    LARGE_SHA256,
    OTHER,
    FakeHub,
    World,
    cut_after,
    says,
)


def test_a_cut_connection_is_gone_on_with_where_it_broke(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), cut_after(50_000)]
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin") == [None, "bytes=100000-", "bytes=150000-"]
    etag = f'"{LARGE_SHA256}"'
    assert [one.headers.get("If-Range") for one in hub.requests_for("large.bin")] == [
        None,
        etag,
        etag,
    ]


def test_a_later_run_goes_on_with_what_an_earlier_one_left(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), says(503), says(503), says(503)]
    with pytest.raises(WeightsError, match="after 3 retries"):
        world.fetch()
    assert "large.bin.part" in world.leftovers()
    assert not (world.volume / "model/large.bin").exists()
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin")[-1] == "bytes=100000-"
    assert world.leftovers() == []


def test_a_server_that_ignores_ranges_is_started_over(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), lambda answer: answer.send(is_whole=True)]
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_a_file_that_changed_between_two_parts_is_started_over(world: World, hub: FakeHub) -> None:
    # The beginning of another version, with its own tag; If-Range then brings the whole.
    hub.faults["large.bin"].append(lambda answer: answer.send(content=OTHER, sent=100_000))
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_a_server_that_answers_a_range_of_another_version_is_started_over(
    world: World, hub: FakeHub
) -> None:
    hub.faults["large.bin"] += [
        cut_after(100_000),
        lambda answer: answer.send(content=OTHER, etag='"another"'),
    ]
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin") == [None, "bytes=100000-", None]


def test_a_beginning_that_turns_out_wrong_is_brought_anew_once(world: World, hub: FakeHub) -> None:
    # Same tag, other bytes: only the hash can tell, at the end.
    hub.faults["large.bin"] += [
        lambda answer: answer.send(content=OTHER, etag=f'"{LARGE_SHA256}"', sent=100_000),
        *[says(503)] * 3,
    ]
    with pytest.raises(WeightsError, match="after 3 retries"):
        world.fetch()
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin")[-2:] == ["bytes=100000-", None]


def test_a_rest_that_the_server_does_not_know_is_started_over(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), says(416)]
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_a_part_of_another_revision_is_not_gone_on_with(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), *[says(503)] * 3]
    with pytest.raises(WeightsError):
        world.fetch()
    note = world.volume / "model/large.bin.part.json"
    note.write_text(note.read_text().replace("a" * 40, "b" * 40))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin")[-1] is None


def test_a_run_killed_before_the_last_step_needs_no_request(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), *[says(503)] * 3]
    with pytest.raises(WeightsError):
        world.fetch()
    (world.volume / "model/large.bin.part").write_bytes(LARGE)
    before = len(hub.requests_for("large.bin"))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert len(hub.requests_for("large.bin")) == before
