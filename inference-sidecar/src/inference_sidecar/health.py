"""Whether the sidecar that works in SPOOL_DIR is ready for jobs or, with `--live`, alive.

    python -m inference_sidecar.health [--live] [--spool-dir DIR]

Exits 0, or exits 1 with one line that says why. Alive means that the event loop of the parent turns
and its heartbeat comes round; only a restart helps against the opposite. Ready also means that the
broker answers, the engine is loaded, and the sidecar is not draining.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from inference_sidecar.store.health_file import HealthFile


def main() -> None:
    """Reads the file that each heartbeat writes; talks to nobody, so it answers at once."""
    parser = argparse.ArgumentParser(prog="python -m inference_sidecar.health")
    parser.add_argument("--live", action="store_true", help="alive is enough, ready or not")
    parser.add_argument("--spool-dir", default=os.environ.get("SPOOL_DIR"), metavar="DIR")
    arguments = parser.parse_args()
    if not arguments.spool_dir:
        sys.exit("Neither SPOOL_DIR nor --spool-dir says where the sidecar works.")
    file = HealthFile(Path(arguments.spool_dir))
    sys.exit(file.find_problem(is_live_enough=arguments.live))


if __name__ == "__main__":
    main()
