"""A real MLflow server on this machine, for a while."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SECONDS = 40  # to start


@contextmanager
def serving(folder: Path, *arguments: str, port: int | None = None) -> Iterator[str]:
    """The address of `mlflow server` with some arguments, working in a folder; skips the test where none starts."""
    port = port or free_port()
    address, log = f"http://127.0.0.1:{port}", folder / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *arguments], cwd=folder, env=env, stdout=out, stderr=out, start_new_session=True
        )
    try:
        if not _answers(process, f"{address}/health"):
            pytest.skip(f"mlflow server does not start: {log.read_text()[-300:]}")
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too; nothing here is worth an orderly end
        process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False
