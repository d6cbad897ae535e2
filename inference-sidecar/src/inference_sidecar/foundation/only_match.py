"""A path that may be a pattern: where a provider puts files under a name that changes."""

from __future__ import annotations

from glob import has_magic
from pathlib import Path


def only_match(path: Path) -> Path:
    """The one thing that a pattern such as `/cache/models--x/snapshots/*` matches; other paths as
    they are.

    Raises `ValueError` where a pattern matches nothing, or several: which one is meant?
    """
    if not has_magic(str(path)) or path.exists():
        return path
    absolute = path.absolute()
    matches = list(Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor))))
    if len(matches) != 1:
        raise ValueError(f"the pattern must match one folder, and matches {len(matches)}")
    return matches[0]
