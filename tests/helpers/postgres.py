"""A real PostgreSQL on this machine, for a while."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"  # runs it where the tests are run by root, which PostgreSQL refuses


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database, with a password in it; skips the test where none starts."""
    pytest.importorskip("psycopg2", reason="PostgreSQL's driver is missing: pip install psycopg2-binary")
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1:]
    initdb = shutil.which("initdb") or (str(newest[0]) if newest else "")
    if not initdb:
        pytest.skip("PostgreSQL is not installed: no initdb")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    who = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    server = [str(Path(initdb).with_name("postgres")), "-D", str(folder), "-k", str(folder), "-p", str(port), "-c"]
    try:
        if who:
            shutil.chown(folder, USER, USER)
        made = subprocess.run(
            [initdb, "-D", folder, "-A", "trust", "-U", "someone", "-E", "UTF8", "--no-sync"],
            cwd=folder, capture_output=True, text=True, check=False, **who,
        )  # fmt: skip
        if made.returncode:
            pytest.skip(f"initdb fails: {made.stderr[-300:]}")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*server, "fsync=off"], cwd=folder, stdout=log, stderr=log, **who)
        try:
            url = f"postgresql+psycopg2://someone:sesame@127.0.0.1:{port}/postgres"
            if not _answers(process, port):
                pytest.skip(f"PostgreSQL does not start: {(folder / 'log').read_text()[-300:]}")
            yield url
        finally:
            process.terminate()  # waits for clients
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.send_signal(2)  # ends them
                process.wait(10)
    except LookupError as error:  # of the user
        pytest.skip(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    import psycopg2

    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="someone", dbname="postgres").close()
            return True
        except psycopg2.OperationalError:
            time.sleep(0.1)
    return False
