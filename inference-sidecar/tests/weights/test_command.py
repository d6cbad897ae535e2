"""The weights command: exit status, one sentence, no traceback, no token."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stage.hub import World


def run(world: World, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-m", "inference_sidecar.weights", *arguments],
        env={**inherited, "HF_ENDPOINT": world.hub.url, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_fetch_then_verify(world: World) -> None:
    manifest = ["--manifest", str(world.manifest)]
    storage = {"MODEL_STORAGE_PATH": str(world.volume), "HF_TOKEN": "hf_secret"}
    fetched = run(world, "fetch", *manifest, **storage)
    # A real volume keeps a reserve, for which this machine may have no space.
    if "GB free" in fetched.stderr:
        pytest.skip("this disk is too full for a volume")
    assert (fetched.returncode, fetched.stdout) == (
        0,
        "2 files, 0.0 GB, are in place (2 came now).\n",
    )
    assert "hf_secret" not in fetched.stderr
    verified = run(world, "verify", *manifest, **storage)
    assert verified.returncode == 0
    assert "model/large.bin" in verified.stdout
    assert verified.stdout.endswith("2 files, 0.000 GB: all as pinned\n")

    (world.volume / "model/large.bin").unlink()
    wrong = run(world, "verify", *manifest, **storage)
    assert wrong.returncode == 1
    assert "missing" in wrong.stdout
    assert wrong.stderr.startswith("weights: 1 files are not as pinned: `fetch` brings")


def test_a_missing_volume_ends_in_one_sentence(world: World) -> None:
    run_ = run(world, "fetch", "--dir", str(world.volume / "absent"))
    assert run_.returncode == 1
    assert run_.stderr == (
        f"weights: {world.volume}/absent does not exist: mount the volume for the weights there,"
        " or make the folder.\n"
    )


def test_no_volume_at_all_ends_in_one_sentence(world: World) -> None:
    run_ = run(world, "verify")
    assert run_.returncode == 1
    assert run_.stderr == (
        "weights: Where are the weights? Set MODEL_STORAGE_PATH or give --dir.\n"
    )


def test_the_mirror_of_the_command_line_overrides_that_of_the_environment(world: World) -> None:
    run_ = run(
        world,
        *("fetch", "--manifest", str(world.manifest), "--dir", str(world.volume)),
        *("--from", world.hub.url),
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert world.hub.asked, run_.stderr


@pytest.mark.parametrize("base", ["ftp://hub", "no address", "https://user:pass@hub"])
def test_an_invalid_address_ends_in_one_sentence(world: World, base: str) -> None:
    run_ = run(world, "fetch", "--dir", str(world.volume), "--from", base)
    assert run_.returncode == 1
    assert run_.stderr.startswith("weights: ")
    assert "pass" not in run_.stderr
    assert len(run_.stderr.splitlines()) == 1


def test_the_token_may_come_from_a_file(world: World) -> None:
    secret = world.volume.with_name("token")
    secret.write_text("hf_secret\n")
    storage = {"MODEL_STORAGE_PATH": str(world.volume), "HF_TOKEN_FILE": str(secret)}
    fetched = run(world, "fetch", "--manifest", str(world.manifest), **storage)
    assert {one.headers["Authorization"] for one in world.hub.asked} == {"Bearer hf_secret"}
    assert "hf_secret" not in fetched.stdout + fetched.stderr


def test_a_token_given_twice_ends_in_one_sentence(world: World) -> None:
    both = {"HF_TOKEN": "hf_secret", "HF_TOKEN_FILE": "/absent"}
    run_ = run(world, "fetch", "--dir", str(world.volume), **both)
    assert run_.returncode == 1
    assert "HF_TOKEN and HF_TOKEN_FILE are both given" in run_.stderr
    assert len(run_.stderr.splitlines()) == 1
    assert world.hub.asked == []


@pytest.mark.parametrize("content", [None, b"hf_secret\xff"])
def test_an_unreadable_token_file_is_named_without_its_content(
    world: World, content: bytes | None
) -> None:
    path = world.volume.with_name("token")
    if content is not None:
        path.write_bytes(content)
    run_ = run(world, "fetch", "--dir", str(world.volume), HF_TOKEN_FILE=str(path))
    assert run_.returncode == 1
    assert str(path) in run_.stderr
    assert "hf_secret" not in run_.stdout + run_.stderr
    assert len(run_.stderr.splitlines()) == 1


def test_a_wrong_argument_shows_the_usage(world: World) -> None:
    run_ = run(world, "fetch", "--parallel", "99")
    assert run_.returncode == 2
    assert "usage:" in run_.stderr
