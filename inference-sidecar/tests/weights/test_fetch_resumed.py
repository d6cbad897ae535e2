"""A fetch resumes where an earlier one stopped, if the file is still the same."""

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


def test_a_cut_connection_is_resumed_where_it_broke(world: World, hub: FakeHub) -> None:
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


def test_a_later_run_resumes_what_an_earlier_one_left(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), says(503), says(503), says(503)]
    with pytest.raises(WeightsError, match="after 3 retries"):
        world.fetch()
    assert "large.bin.part" in world.leftovers()
    assert not (world.volume / "model/large.bin").exists()
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin")[-1] == "bytes=100000-"
    assert world.leftovers() == []


def test_a_download_starts_over_if_the_server_ignores_ranges(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), lambda answer: answer.send(is_whole=True)]
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_a_download_starts_over_if_the_file_changed_in_between(world: World, hub: FakeHub) -> None:
    # The start of another version with its own ETag; If-Range then returns the whole file.
    hub.faults["large.bin"].append(lambda answer: answer.send(content=OTHER, sent=100_000))
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_a_download_starts_over_if_the_range_is_of_another_version(
    world: World, hub: FakeHub
) -> None:
    hub.faults["large.bin"] += [
        cut_after(100_000),
        lambda answer: answer.send(content=OTHER, etag='"another"'),
    ]
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin") == [None, "bytes=100000-", None]


def test_a_part_that_turns_out_wrong_is_downloaded_again_once(world: World, hub: FakeHub) -> None:
    # The same ETag with other bytes: only the hash detects it, at the end.
    hub.faults["large.bin"] += [
        lambda answer: answer.send(content=OTHER, etag=f'"{LARGE_SHA256}"', sent=100_000),
        *[says(503)] * 3,
    ]
    with pytest.raises(WeightsError, match="after 3 retries"):
        world.fetch()
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin")[-2:] == ["bytes=100000-", None]


def test_a_download_starts_over_if_the_range_does_not_exist(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), says(416)]
    world.fetch()
    assert world.read("large.bin") == LARGE


def test_a_part_of_another_revision_is_not_resumed(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), *[says(503)] * 3]
    with pytest.raises(WeightsError):
        world.fetch()
    note = world.volume / "model/large.bin.part.json"
    note.write_text(note.read_text().replace("a" * 40, "b" * 40))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert hub.ranges_of("large.bin")[-1] is None


def test_a_run_killed_before_the_rename_needs_no_request(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), *[says(503)] * 3]
    with pytest.raises(WeightsError):
        world.fetch()
    (world.volume / "model/large.bin.part").write_bytes(LARGE)
    before = len(hub.requests_for("large.bin"))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert len(hub.requests_for("large.bin")) == before
