"""A PostgreSQL for the tests of stores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most tests need it not: it is imported where it is used
    import sqlalchemy as sa

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[sa.Engine]:
    """A running PostgreSQL."""
    import sqlalchemy as sa
    from postgres import postgres

    with postgres() as url:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        yield engine
        engine.dispose()


@pytest.fixture
def database(cluster: sa.Engine) -> Iterator[str]:
    """The address of an empty PostgreSQL database."""
    import sqlalchemy as sa
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    name = f"test{next(NUMBERS)}"
    with cluster.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = cluster.url.set(database=name).render_as_string(hide_password=False)
    yield url
    if url in SqlAlchemyStore._engine_map:
        SqlAlchemyStore._engine_map.pop(url).dispose()
