"""Measures the InfiniteTalk engine on the GPU at hand; prints the table last, in ten minutes.

    python bench/gpu/main.py [--wheels DIR] [--upstream DIR] [--json FILE]

Needs Python 3.11, torch and transformers, and nothing else: no weights, no network, no service.
`--tiny` runs the same code on a CPU in seconds, to show that it runs. See README.md beside this.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "inference-sidecar" / "src")]

from gpu_bench.run import main  # noqa: E402 - the path above makes it importable

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
