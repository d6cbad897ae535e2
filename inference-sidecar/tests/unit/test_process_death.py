"""Programs that end with the process that started them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_sidecar.foundation import process_death
from inference_sidecar.foundation.process_death import dying_with_us

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


@pytest.fixture
def only_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A path named `setpriv` in the only folder that is searched for programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    process_death._setpriv.cache_clear()
    yield tmp_path / "setpriv"
    process_death._setpriv.cache_clear()


def test_a_process_ends_at_once_when_its_parent_is_gone_before_it_could_ask() -> None:
    program = "from inference_sidecar.foundation.process_death import die_with_parent as d; d({})"
    for parent_pid, exit_status in ((os.getpid(), 0), (1, 111)):
        ended = subprocess.run([sys.executable, "-c", program.format(parent_pid)], check=False)
        assert ended.returncode == exit_status


def test_a_program_runs_without_setpriv(only_program: Path) -> None:
    assert not only_program.exists()
    assert dying_with_us([sys.executable, "-V"]) == [sys.executable, "-V"]


def test_a_setpriv_that_lacks_the_option_is_not_used(only_program: Path) -> None:
    only_program.write_text("#!/bin/sh\necho unrecognized option >&2; exit 1\n")
    only_program.chmod(0o755)
    assert dying_with_us([sys.executable, "-V"]) == [sys.executable, "-V"]
