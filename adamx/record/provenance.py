"""Provenance: what a figure may depend on besides the configuration: versions, processors, the state of the sources."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path

from adamx.engine import backends

PACKAGES = ("adamx", "numba", "numba-cuda", "numpy", "scipy", "mlflow", "hydra-core")


def _blas() -> str:
    """The library that multiplies matrices in tasks' kernels, scipy's: its sums differ by version and processor."""
    import scipy.linalg  # noqa: F401  (loads it)
    from threadpoolctl import threadpool_info

    found = [each for each in threadpool_info() if each["user_api"] == "blas"]
    own = [each for each in found if "scipy" in each["filepath"]] or found
    words = ("internal_api", "version", "architecture", "threading_layer")
    return ", ".join(sorted({" ".join(str(each.get(word) or "") for word in words).strip() for each in own}))


def versions() -> dict[str, str]:
    """Each by its name, as a parent run's tags keep them."""
    tags = {"python": platform.python_version(), "platform": platform.platform(), "cores": str(os.cpu_count())}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            tags[f"version.{package}"] = importlib.metadata.version(package)
    tags["cpu"] = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):  # Linux alone tells the model
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        tags["cpu"] = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    tags |= {"blas": _blas(), **backends.devices()}
    here = Path(__file__).parents[1]
    code = b"".join(path.read_bytes() for path in sorted(here.rglob("*.py")))
    tags["sources"] = hashlib.blake2b(code, digest_size=8).hexdigest()
    if "site-packages" not in here.parts:  # a checkout; an installed package may lie inside somebody else's
        git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            tags |= {"git_commit": said.removesuffix("-dirty"), "git_dirty": str(said.endswith("-dirty")).lower()}
    return tags
