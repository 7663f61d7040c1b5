"""SQL: a database store made ready before MLflow opens it, so that sweeps may come at once and be killed at any moment.

A fresh one is created once, all of it or nothing; one of another MLflow is left as it is; a locked one is waited for.
"""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from adamx.inputs.errors import InputError
from adamx.record import interrupt
from adamx.record.address import database, shown

WAIT = 300  # seconds for others to finish writing; MLflow waits 20, and a large sweep writes for longer
QUIET = 10  # of them, seconds before a message
KEY = 0xADA3  # of PostgreSQL's lock


@contextmanager
def ready(uri: str, create: bool = True) -> Iterator[None]:
    """Create the database where there is none, and keep other sweeps from opening it until the end of the block:
    two that migrate one fresh database break it.

    Args:
        create: if not, one that does not exist is an error, and nothing is locked.
    Raises:
        InputError: its schema is not of this MLflow. Else what its driver raises, at once (MLflow retries for minutes).
    """
    engine = sa.create_engine(uri)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        if engine.dialect.name == "sqlite":
            _wait_for_locks(engine)
            path = database(uri)
            if path and create:
                path = path.resolve()
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_lock(path.parent))
                if not path.exists() or (path.is_file() and not path.stat().st_size):
                    _create(engine.url, path)
            if path and not path.is_file():
                raise InputError(f"MLflow store {uri!r}: {str(path)!r} is not a file, and nothing is put in its place")
        connection = stack.enter_context(engine.connect())
        if not create and not sa.inspect(connection).has_table("alembic_version"):
            raise InputError(f"MLflow store {shown(uri)!r} has no tables yet")
        if engine.dialect.name == "postgresql" and create:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{WAIT}s'"))
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({KEY})"))
        _check_schema(connection, shown(uri))
        _wait_for_locks(SqlAlchemyStore._get_or_create_engine(uri))
        yield


def _create(url: sa.URL, path: Path) -> None:
    """A fresh SQLite store, under another name until it is whole: what a killed migration leaves cannot be repaired."""
    draft = path.with_name(f".{path.name}.new")
    for left in (draft, draft.with_name(f"{draft.name}-journal")):
        left.unlink(missing_ok=True)
    engine = sa.create_engine(url.set(database=str(draft)))
    try:
        utils._initialize_tables(engine)
        engine.dispose()
        draft.replace(path)
    finally:
        engine.dispose()
        draft.unlink(missing_ok=True)


def _check_schema(connection: sa.Connection, uri: str) -> None:
    """Raise InputError for a schema of another MLflow, which an older one would refuse and a newer one migrate without
    being asked, so that whoever shares the store is locked out."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found in (None, utils._get_latest_schema_revision()):
        return
    scripts = ScriptDirectory.from_config(utils._get_alembic_config(""))
    if found in {script.revision for script in scripts.walk_revisions()}:
        how = f"older: back it up, then run `mlflow db upgrade {shlex.quote(uri)}`"
    else:
        how = "newer: upgrade mlflow"
    raise InputError(f"MLflow store {uri!r} has schema {found}, not that of MLflow {mlflow.__version__} but {how}")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    if os.name == "nt":  # no flock, and a folder cannot be opened
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        _retry(lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda e: isinstance(e, BlockingIOError))
        yield
    finally:
        os.close(handle)


def _wait_for_locks(engine: sa.Engine) -> None:
    """Let all statements on SQLite wait for other writers."""
    if engine.dialect.name == "sqlite" and not sa.event.contains(engine, "do_execute", _execute):
        sa.event.listen(engine, "do_execute", _execute)
        sa.event.listen(engine, "do_executemany", _executemany)


def _execute(cursor: sqlite3.Cursor, statement: str, parameters: Any, _: Any) -> bool:
    with _rolled_back_on_interrupt(cursor):
        _retry(lambda: cursor.execute(statement, parameters), _busy)
    return True  # done, in place of SQLAlchemy


def _executemany(cursor: sqlite3.Cursor, statement: str, parameters: Any, _: Any) -> bool:
    # A transaction that has begun to write is never busy again: only its first row fails, so nothing is written then.
    with _rolled_back_on_interrupt(cursor):
        _retry(lambda: cursor.executemany(statement, parameters), _busy)
    return True


@contextmanager
def _rolled_back_on_interrupt(cursor: sqlite3.Cursor) -> Iterator[None]:
    """End a transaction that is interrupted: SQLAlchemy closes its connection, which keeps the lock as long as the
    cursor exists, and the traceback keeps the cursor."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        with suppress(sqlite3.Error):
            cursor.connection.rollback()
        raise


def _busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _retry(call: Callable[[], object], busy: Callable[[Exception], bool]) -> None:
    """Call again while others hold the lock; TimeoutError after `WAIT` seconds."""
    start, warned = time.monotonic(), False
    while True:
        try:
            call()
            return
        except Exception as error:
            if not busy(error):
                raise
            waited = time.monotonic() - start
            if waited > WAIT:
                raise TimeoutError(f"locked by another process for more than {WAIT} seconds") from error
        if waited > QUIET and not warned:
            warned = True
            logging.getLogger(__name__).warning("waiting for another process to finish its write to the MLflow store")
        interrupt.check()
        time.sleep(0.05)
