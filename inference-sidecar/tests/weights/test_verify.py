"""What `verify` finds and reports."""

from __future__ import annotations

import pytest

from inference_sidecar.weights.manifest import read_manifest
from inference_sidecar.weights.verify import Finding, State, table, verify
from stage.hub import World, content_of

LARGE = "model/large.bin"


def states(world: World, *, reads_content: bool = True) -> dict[str, State]:
    findings = verify(world.volume, read_manifest(world.manifest), reads_content=reads_content)
    return {finding.name: finding.state for finding in findings}


def test_fetched_files_are_ok(world: World) -> None:
    world.fetch()
    assert states(world) == {LARGE: State.OK, "model/folder/small.json": State.OK}


def test_a_changed_bit_is_found_unless_only_sizes_are_checked(world: World) -> None:
    world.fetch()
    content = bytearray(world.read("large.bin"))
    content[150_000] ^= 1
    (world.volume / LARGE).write_bytes(content)
    assert states(world)[LARGE] is State.WRONG_HASH
    assert states(world, reads_content=False)[LARGE] is State.OK


def test_every_other_state_has_its_name(world: World) -> None:
    assert states(world)[LARGE] is State.MISSING
    folder = world.volume / "model"
    folder.mkdir()
    (folder / "large.bin.part").write_bytes(b"x")
    assert states(world)[LARGE] is State.INCOMPLETE
    (folder / "large.bin").write_bytes(content_of(300_000))
    assert states(world)[LARGE] is State.UNPINNED
    world.fetch()
    (folder / "large.bin").write_bytes(b"short")
    assert states(world)[LARGE] is State.WRONG_SIZE


def test_verify_changes_nothing(world: World) -> None:
    world.fetch()
    (world.volume / LARGE).write_bytes(b"short")
    before = {p: p.stat().st_mtime_ns for p in world.volume.rglob("*")}
    states(world)
    assert {p: p.stat().st_mtime_ns for p in world.volume.rglob("*")} == before


def test_a_pin_of_another_revision_is_ignored(world: World) -> None:
    world.fetch()
    world.write_manifest('path = "large.bin"', revision="b" * 40)
    assert states(world) == {LARGE: State.UNPINNED}


def test_the_table_has_a_line_for_each_file_and_a_sum() -> None:
    lines = table(
        [Finding("a/long-name", State.OK, 1_500_000_000), Finding("b", State.MISSING, None)]
    ).splitlines()
    assert lines == [
        "a/long-name      1.500 GB  ok",
        "b                       -  missing",
        "2 files, 1.500 GB: 1 not as pinned",
    ]


def test_the_table_says_when_everything_is_pinned() -> None:
    assert table([Finding("a", State.OK, 1)]).endswith("1 files, 0.000 GB: all as pinned")


@pytest.mark.parametrize("state", [state for state in State if state is not State.OK])
def test_no_other_state_counts_as_ok(state: State) -> None:
    assert "1 not as pinned" in table([Finding("a", state, 1)])
