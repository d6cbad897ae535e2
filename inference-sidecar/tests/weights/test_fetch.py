"""What a fetch downloads, records, and leaves alone."""

from __future__ import annotations

import hashlib
import json

import pytest

from inference_sidecar.foundation.errors import WeightsError
from stage.hub import (
    LARGE,
    LARGE_SHA256,
    OTHER,
    SMALL,
    FakeHub,
    World,
    content_of,
    says,
)


def test_every_file_arrives_and_no_partial_file_is_left(world: World) -> None:
    fetched = world.fetch()
    assert (fetched.downloaded, fetched.present) == (2, 0)
    assert world.read("large.bin") == LARGE
    assert world.read("folder/small.json") == SMALL
    assert world.leftovers() == []


def test_the_first_fetch_records_what_the_hub_states(world: World) -> None:
    world.fetch()
    files = json.loads((world.volume / "weights-lock.json").read_text())["files"]
    assert files["model/large.bin"]["sha256"] == LARGE_SHA256
    assert files["model/large.bin"]["size"] == len(LARGE)
    # The hub states no SHA-256 of a small file; it is recorded once the git hash is verified.
    assert files["model/folder/small.json"]["sha256"] == hashlib.sha256(SMALL).hexdigest()


def test_a_second_fetch_sends_no_request(world: World, hub: FakeHub) -> None:
    world.fetch()
    before = len(hub.asked)
    fetched = world.fetch()
    assert (fetched.downloaded, fetched.present) == (0, 2)
    assert len(hub.asked) == before


def test_files_pinned_by_the_manifest_need_no_list(world: World, hub: FakeHub) -> None:
    world.write_manifest(f'path = "large.bin"\nbytes = {len(LARGE)}\nsha256 = "{LARGE_SHA256}"')
    world.fetch()
    assert [one.path for one in hub.asked] == [f"/maker/model/resolve/{'a' * 40}/large.bin"]


def test_a_file_changed_at_the_hub_is_refused_by_its_pin(world: World, hub: FakeHub) -> None:
    world.fetch()
    (world.volume / "model/large.bin").unlink()
    hub.files["large.bin"] = OTHER
    with pytest.raises(WeightsError, match="is not what was pinned"):
        world.fetch()
    assert not (world.volume / "model/large.bin").exists()


def test_a_file_that_is_already_there_is_read_once_and_kept(world: World, hub: FakeHub) -> None:
    (world.volume / "model").mkdir()
    (world.volume / "model/large.bin").write_bytes(LARGE)
    fetched = world.fetch()
    assert (fetched.downloaded, fetched.present) == (1, 1)
    assert hub.ranges_of("large.bin") == []
    assert "model/large.bin: is there; reading it" in world.said.getvalue()
    world.said.truncate(0)
    world.fetch()
    assert "reading it" not in world.said.getvalue()


@pytest.mark.parametrize("wrong", [OTHER, LARGE[:1000]])
def test_a_wrong_file_is_downloaded_again(world: World, wrong: bytes) -> None:
    (world.volume / "model").mkdir()
    (world.volume / "model/large.bin").write_bytes(wrong)
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert "is not what was pinned; downloading it again" in world.said.getvalue()


def test_a_file_modified_since_is_read_again(world: World, hub: FakeHub) -> None:
    world.fetch()
    path = world.volume / "model/large.bin"
    path.write_bytes(OTHER)
    before = len(hub.requests_for("large.bin"))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert len(hub.requests_for("large.bin")) == before + 1


def test_a_damaged_record_is_reported_and_not_overwritten(world: World) -> None:
    record = world.volume / "weights-lock.json"
    record.write_text('{"version": 1, "files"')
    with pytest.raises(WeightsError, match=r"cannot be read. Restore it, or delete it"):
        world.fetch()
    assert record.read_text() == '{"version": 1, "files"'


def test_a_failed_file_stops_the_other_downloads(world: World, hub: FakeHub) -> None:
    for i in range(20):
        hub.files[f"{i}.bin"] = content_of(20_000, seed=i)
    world.write_manifest('path = "large.bin"', *[f'path = "{i}.bin"' for i in range(20)])
    hub.faults["large.bin"].append(says(404))
    with pytest.raises(WeightsError, match="404"):
        world.fetch(parallel=1)
    assert len([one for one in hub.asked if "/resolve/" in one.path]) == 1


def test_an_empty_file_is_fetched(world: World, hub: FakeHub) -> None:
    hub.files["empty"] = b""
    world.write_manifest('path = "empty"')
    world.fetch()
    assert world.read("empty") == b""
