"""Measures the InfiniteTalk engine on the local GPU in ten minutes and prints a table at the end.

    python bench/gpu/main.py [--wheels DIR] [--upstream DIR] [--json FILE]

Needs Python 3.11, torch and transformers; no weights, no network and no service. `--tiny` runs the
same code on a CPU in half a minute, to check that it works. See README.md in this folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "inference-sidecar" / "src")]

from gpu_bench.run import main  # noqa: E402 - importable only with the path above

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
