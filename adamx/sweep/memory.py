"""Memory: how much of it is free, on a machine and within the limits of a container."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from adamx.inputs.errors import InputError

GROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")
# of each version of Linux's control groups: the limit, what is used, and what of that can be given back
FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def free() -> float:
    """Bytes that may still be taken: the least of what the machine and each control group have left."""
    return min([psutil.virtual_memory().available, *_groups()])


def exhausted(error: MemoryError) -> InputError:
    """The error for work that has run out of memory."""
    words = f": {error}" if str(error) else ""
    return InputError(f"the memory does not suffice{words}; raise record_every, or sweep fewer points")


def _groups() -> Iterator[float]:
    """The free bytes in each control group that this process is in, and in those above it."""
    lines: list[str] = []
    with suppress(OSError):
        lines = PROCESS.read_text().splitlines()
    for line in lines:
        number, kinds, path = line.split(":", 2)
        if number == "0":
            version, root = 2, GROUPS
        elif "memory" in kinds.split(","):
            version, root = 1, GROUPS / "memory"
        else:
            continue
        group = root / path.lstrip("/")  # in a container the path may be the host's, which is not there
        for folder in [group, *group.parents]:
            if folder.is_relative_to(root):
                yield _free_in_group(folder, *FILES[version])


def _free_in_group(folder: Path, limit: str, used: str, reclaimable: str) -> float:
    with suppress(OSError, ValueError):  # no such group, or "max": no limit
        most, now = int((folder / limit).read_text()), int((folder / used).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(most - now + int(statistics.get(reclaimable, 0)), 0)
    return math.inf
