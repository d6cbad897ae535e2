"""A file arrives whole or not at all, whatever the server does, in a random order."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter

import pytest

from inference_sidecar.foundation.errors import WeightsError
from stage.hub import LARGE, LARGE_SHA256, OTHER, FakeHub, Fault, World, cut_after, says

FAULTS = int(os.environ.get("DOWNLOAD_FAULTS") or 10)
FAULTS_AT_ONCE = 4
"""The most faults that one download meets."""
MOST_RUNS = 5
"""Somebody who runs the command again and again has the file by then."""


def _wrong(sent: int) -> Fault:
    """Bytes of another file under the right one's name: only the hash tells."""
    return lambda answer: answer.send(content=OTHER, etag=f'"{LARGE_SHA256}"', sent=sent)


def _any_fault(chance: random.Random) -> tuple[str, Fault]:
    somewhere = chance.randrange(1, len(LARGE))
    return chance.choice(
        [
            ("5xx", says(chance.choice([500, 502, 503, 504]))),
            ("cut", cut_after(somewhere)),
            ("wrong", _wrong(chance.choice([somewhere, len(LARGE)]))),
        ]
    )


def test_a_file_is_never_half_there_through_random_faults(
    world: World, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("DOWNLOAD_SEED") or time.time_ns() % 1_000_000)
    chance = random.Random(seed)
    met: Counter[str] = Counter()
    downloads = requests = resumed = most_runs = 0
    path = world.volume / "model/large.bin"
    while met.total() < FAULTS:
        planned = [_any_fault(chance) for _ in range(chance.randint(1, FAULTS_AT_ONCE))]
        hub.faults["large.bin"] = [fault for _, fault in planned]
        hub.asked.clear()
        runs = _fetch_until_there(world, seed)
        # A fault that comes when all is there is met by nobody.
        left = len(hub.faults["large.bin"])
        met.update(kind for kind, _ in planned[: len(planned) - left])
        assert path.read_bytes() == LARGE, f"seed {seed}"
        assert world.leftovers() == []
        ranges = hub.ranges_of("large.bin")
        # Wrong bytes cost the request that brought them, and the one that completed the file.
        assert len(ranges) <= 2 * len(planned) + 1, f"seed {seed}"
        downloads += 1
        requests += len(ranges)
        resumed += sum(each is not None for each in ranges)
        most_runs = max(most_runs, runs)
        path.unlink()
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(met.items()))
    with capsys.disabled():
        sys.stdout.write(
            f"\ndownload faults: {met.total()} faults ({kinds}) in {downloads} downloads, "
            f"{requests} requests, {resumed} of them resumed, all verified after {most_runs} runs "
            f"at most, 0 half-loaded; seed {seed}\n"
        )


def _fetch_until_there(world: World, seed: int) -> int:
    """The number of runs that it took. A run that fails leaves nothing under the file's name."""
    for run in range(1, MOST_RUNS + 1):
        try:
            world.fetch()
        except WeightsError:
            assert not (world.volume / "model/large.bin").exists(), f"seed {seed}"
        else:
            return run
    pytest.fail(f"not there after {MOST_RUNS} runs; seed {seed}")
