"""Writes tiny random weights in the published layout, to try `replay`, `prepare` and the engine.

    python -m inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights DIR

They render noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    write_tiny_weights,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    summary = cast("str", __doc__).splitlines()[0]
    parser = argparse.ArgumentParser("tiny_weights", description=summary)
    parser.add_argument("folder", type=Path, help="is created; must not contain weights yet")
    try:
        write_tiny_weights(parser.parse_args(arguments).folder, TinySizes())
    except OSError as problem:
        sys.stderr.write(f"tiny_weights: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
