"""Reads each dashboard with Grafana's own types and says what did not survive.

Usage: python read_dashboards.py FILE...

A field that Grafana does not know is dropped by these types without a word, so a dashboard that
is written as it was read holds no misspelled field. What stands inside a query is passed through
unread.
"""

import json
import sys
from difflib import unified_diff
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(file: Path) -> list[str]:
    """What Grafana's types change in a dashboard, as lines of a diff."""
    dashboard = json.loads(file.read_text())
    before = json.dumps(dashboard, sort_keys=True, indent=2)
    after = JSONEncoder(sort_keys=True, indent=2).encode(Dashboard.from_json(dashboard))
    names = (file.name, "as Grafana's types write it")
    return list(unified_diff(before.splitlines(), after.splitlines(), *names, lineterm=""))


def main() -> int:
    """Returns the exit status: whether anything was changed."""
    register_default_plugins()  # Else options of panels and queries pass unread.
    found = [line for name in sys.argv[1:] for line in lost(Path(name))]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
