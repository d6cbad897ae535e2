"""Fetching from a hub that cuts, lies, forgets and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference_sidecar.weights import part_file
from inference_sidecar.weights.errors import WeightsError
from inference_sidecar.weights.volume import locked
from stage.hub import Answer, FakeHub, World, content_of

LARGE = content_of(300_000)
SMALL = b'{"a": 1}'
OTHER = content_of(300_000, seed=1)
SHA256 = hashlib.sha256(LARGE).hexdigest()


def cut_after(sent: int) -> Callable[[Answer], None]:
    return lambda answer: answer.send(sent=sent)


def says(code: int, **headers: str) -> Callable[[Answer], None]:
    return lambda answer: answer.status(code, **headers)


def ranges(hub: FakeHub, path: str = "large.bin") -> list[str | None]:
    return [one.headers.get("Range") for one in hub.requests_for(path)]


def test_everything_arrives_and_nothing_is_left_beside_it(world: World) -> None:
    fetched = world.fetch()
    assert (fetched.downloaded, fetched.present) == (2, 0)
    assert world.read("large.bin") == LARGE
    assert world.read("folder/small.json") == SMALL
    assert world.leftovers() == []


def test_the_first_fetch_records_what_the_hub_states(world: World) -> None:
    world.fetch()
    files = json.loads((world.volume / "weights-lock.json").read_text())["files"]
    assert files["model/large.bin"]["sha256"] == SHA256
    assert files["model/large.bin"]["size"] == len(LARGE)
    # The hub states no SHA-256 of a small file: it is the content's, once that had git's name.
    assert files["model/folder/small.json"]["sha256"] == hashlib.sha256(SMALL).hexdigest()


def test_a_second_fetch_asks_for_nothing(world: World, hub: FakeHub) -> None:
    world.fetch()
    before = len(hub.asked)
    fetched = world.fetch()
    assert (fetched.downloaded, fetched.present) == (0, 2)
    assert len(hub.asked) == before


def test_what_the_manifest_pins_needs_no_list(world: World, hub: FakeHub) -> None:
    world.write_manifest(f'path = "large.bin"\nbytes = {len(LARGE)}\nsha256 = "{SHA256}"')
    world.fetch()
    assert [one.path for one in hub.asked] == [f"/maker/model/resolve/{'a' * 40}/large.bin"]


def test_a_file_changed_at_the_hub_is_held_against_the_first_fetch(
    world: World, hub: FakeHub
) -> None:
    world.fetch()
    (world.volume / "model/large.bin").unlink()
    hub.files["large.bin"] = OTHER
    with pytest.raises(WeightsError, match="is not what was pinned"):
        world.fetch()
    assert not (world.volume / "model/large.bin").exists()


def test_a_hub_that_contradicts_the_manifest_is_not_followed(world: World, hub: FakeHub) -> None:
    world.write_manifest(f'path = "large.bin"\nsha256 = "{"b" * 64}"')
    with pytest.raises(WeightsError, match="nothing was taken"):
        world.fetch()
    assert hub.requests_for("resolve/" + "a" * 40 + "/large.bin") == []


def test_a_cut_connection_is_gone_on_with_where_it_broke(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), cut_after(50_000)]
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert ranges(hub) == [None, "bytes=100000-", "bytes=150000-"]
    etag = f'"{SHA256}"'
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
    assert ranges(hub)[-1] == "bytes=100000-"
    assert world.leftovers() == []


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_hub_in_trouble_is_asked_three_times_more(world: World, hub: FakeHub, code: int) -> None:
    hub.faults["large.bin"] += [says(code)] * 3
    world.fetch()
    assert len(hub.requests_for("large.bin")) == 4
    assert world.read("large.bin") == LARGE


def test_after_three_retries_it_is_given_up_with_a_remedy(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [says(503)] * 9
    with pytest.raises(WeightsError, match=r"answered 503, also after 3 retries"):
        world.fetch()
    assert len(hub.requests_for("large.bin")) == 4


def test_pauses_double_and_a_server_may_ask_for_more(world: World, hub: FakeHub) -> None:
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
    assert ranges(hub) == [None, "bytes=100000-", None]


def test_a_beginning_that_turns_out_wrong_is_brought_anew_once(world: World, hub: FakeHub) -> None:
    # Same tag, other bytes: only the hash can tell, at the end.
    hub.faults["large.bin"] += [
        lambda answer: answer.send(content=OTHER, etag=f'"{SHA256}"', sent=100_000),
        *[says(503)] * 3,
    ]
    with pytest.raises(WeightsError, match="after 3 retries"):
        world.fetch()
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert ranges(hub)[-2:] == ["bytes=100000-", None]


def test_wrong_content_is_deleted_and_refused(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"].append(lambda answer: answer.send(content=OTHER))
    with pytest.raises(WeightsError) as error:
        world.fetch()
    assert hashlib.sha256(OTHER).hexdigest() in str(error.value)
    assert SHA256 in str(error.value)
    assert not (world.volume / "model/large.bin").exists()
    assert "large.bin.part" not in world.leftovers()


def test_wrong_content_of_a_small_file_is_refused_by_its_git_name(
    world: World, hub: FakeHub
) -> None:
    hub.faults["folder/small.json"].append(lambda answer: answer.send(content=b'{"a": 2}'))
    with pytest.raises(WeightsError, match=r"folder/small.json is not what was pinned"):
        world.fetch()
    assert not (world.volume / "model/folder/small.json").exists()


@pytest.mark.parametrize("announced", [200_000, 400_000])
def test_a_wrong_length_is_not_believed(world: World, hub: FakeHub, announced: int) -> None:
    hub.faults["large.bin"].append(lambda answer: answer.send(announced=announced))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert f"announced {announced} bytes instead of 300000" in world.said.getvalue()


def test_a_page_instead_of_the_file_is_not_taken(world: World, hub: FakeHub) -> None:
    page = b"<html>Please log in</html>"
    hub.faults["large.bin"] += [lambda answer: answer.send(content=page)] * 9
    with pytest.raises(WeightsError, match="announced 26 bytes instead of 300000"):
        world.fetch()
    assert world.leftovers() == []


def test_a_rest_that_the_server_does_not_know_is_started_over(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), says(416)]
    world.fetch()
    assert world.read("large.bin") == LARGE


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (401, r"\(401\).*HF_TOKEN"),
        (403, r"\(403\).*accept its terms"),
        (404, r"\(404\).*check the revision"),
        (418, r"418.*proxy"),
    ],
)
def test_refusals_are_not_repeated_and_say_what_to_do(
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


def test_a_dead_hub_is_retried_and_then_named(world: World, hub: FakeHub) -> None:
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(WeightsError, match="list of maker/model: the connection failed"):
        world.fetch()


def test_the_token_goes_to_the_hub_and_to_nobody_it_redirects_to(
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


def test_no_message_holds_the_token(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [says(401)]
    with pytest.raises(WeightsError, match="HF_TOKEN is not valid there") as error:
        world.fetch(token="hf_secret")
    assert "hf_secret" not in str(error.value) + world.said.getvalue()


def test_what_is_there_already_is_read_once_and_kept(world: World, hub: FakeHub) -> None:
    (world.volume / "model").mkdir()
    (world.volume / "model/large.bin").write_bytes(LARGE)
    fetched = world.fetch()
    assert (fetched.downloaded, fetched.present) == (1, 1)
    assert ranges(hub) == []
    assert "model/large.bin: is there; reading it" in world.said.getvalue()
    world.said.truncate(0)
    world.fetch()
    assert "reading it" not in world.said.getvalue()


@pytest.mark.parametrize("wrong", [OTHER, LARGE[:1000]])
def test_what_is_there_and_wrong_is_brought_anew(world: World, wrong: bytes) -> None:
    (world.volume / "model").mkdir()
    (world.volume / "model/large.bin").write_bytes(wrong)
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert "is not what was pinned; it is brought anew" in world.said.getvalue()


def test_a_file_that_was_touched_since_is_read_again(world: World, hub: FakeHub) -> None:
    world.fetch()
    path = world.volume / "model/large.bin"
    path.write_bytes(OTHER)
    before = len(hub.requests_for("large.bin"))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert len(hub.requests_for("large.bin")) == before + 1


def test_a_part_of_another_revision_is_not_gone_on_with(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), *[says(503)] * 3]
    with pytest.raises(WeightsError):
        world.fetch()
    note = world.volume / "model/large.bin.part.json"
    note.write_text(note.read_text().replace("a" * 40, "b" * 40))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert ranges(hub)[-1] is None


def test_a_run_killed_before_the_last_step_needs_no_request(world: World, hub: FakeHub) -> None:
    hub.faults["large.bin"] += [cut_after(100_000), *[says(503)] * 3]
    with pytest.raises(WeightsError):
        world.fetch()
    (world.volume / "model/large.bin.part").write_bytes(LARGE)
    before = len(hub.requests_for("large.bin"))
    world.fetch()
    assert world.read("large.bin") == LARGE
    assert len(hub.requests_for("large.bin")) == before


def test_a_missing_volume_is_not_made(world: World) -> None:
    world.volume.rmdir()
    with pytest.raises(WeightsError, match="does not exist: mount the volume"):
        world.fetch()
    assert not world.volume.exists()


def test_a_file_in_place_of_the_volume_is_told(world: World) -> None:
    world.volume.rmdir()
    world.volume.write_text("")
    with pytest.raises(WeightsError, match="is no folder"):
        world.fetch()


def test_too_little_room_is_told_before_anything_is_brought(
    world: World, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_sidecar.weights.volume.RESERVE_BYTES", 10**18)
    with pytest.raises(WeightsError, match=r"GB free and 0\.0 GB are still needed.*make room"):
        world.fetch()
    assert ranges(hub) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_told_and_the_part_is_kept(
    world: World, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    genuine = part_file.PartFile.append

    def full(part: part_file.PartFile, data: bytes) -> None:
        genuine(part, data[: 50_000 - part.size])
        if part.size == 50_000:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(part_file.PartFile, "append", full)
    with pytest.raises(WeightsError, match="is full: make room and run the same command again"):
        world.fetch()
    monkeypatch.setattr(part_file.PartFile, "append", genuine)
    world.fetch()
    assert ranges(hub)[-1] == "bytes=50000-"
    assert world.read("large.bin") == LARGE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607


def test_a_real_disk_that_is_too_small_is_told(
    world: World, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.volume = small_disk
    with pytest.raises(WeightsError, match="make room, or use a larger volume"):
        world.fetch()
    # As if others had filled it meanwhile.
    monkeypatch.setattr("inference_sidecar.weights.fetch.require_space", lambda *_: None)
    with pytest.raises(WeightsError, match="is full: make room"):
        world.fetch()
    assert 0 < (small_disk / "model/large.bin.part").stat().st_size < len(LARGE)
    assert not (small_disk / "model/large.bin").exists()


def test_a_second_fetch_waits_for_the_first(world: World) -> None:
    waiting = threading.Event()
    with locked(world.volume, lambda: None):
        second = threading.Thread(target=world.fetch)
        second.start()
        while "waiting for it" not in world.said.getvalue():
            assert second.is_alive()
            waiting.wait(0.01)
        assert not (world.volume / "model/large.bin").exists()
    second.join(30)
    assert world.read("large.bin") == LARGE


def test_a_broken_record_is_told_and_not_overwritten(world: World) -> None:
    record = world.volume / "weights-lock.json"
    record.write_text('{"version": 1, "files"')
    with pytest.raises(WeightsError, match=r"cannot be read. Restore it, or delete it"):
        world.fetch()
    assert record.read_text() == '{"version": 1, "files"'


def test_a_failure_of_one_file_ends_the_others(world: World, hub: FakeHub) -> None:
    for i in range(20):
        hub.files[f"{i}.bin"] = content_of(20_000, seed=i)
    world.write_manifest('path = "large.bin"', *[f'path = "{i}.bin"' for i in range(20)])
    hub.faults["large.bin"].append(says(404))
    with pytest.raises(WeightsError, match="404"):
        world.fetch(parallel=1)
    assert len([one for one in hub.asked if "/resolve/" in one.path]) == 1


def test_an_empty_file_is_a_file(world: World, hub: FakeHub) -> None:
    hub.files["empty"] = b""
    world.write_manifest('path = "empty"')
    world.fetch()
    assert world.read("empty") == b""


def test_no_name_appears_before_its_content_is_on_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        events.append(("fsync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def noted_replace(draft: Path, path: Path) -> Path:
        events.append(("rename", path.name))
        return replace(draft, path)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    world.fetch()
    at = events.index(("rename", "large.bin"))
    assert ("fsync", "large.bin.part") in events[:at]
    assert ("fsync", "model") in events[at:]
