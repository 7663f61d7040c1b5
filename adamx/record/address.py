"""Address: where runs are recorded, as MLflow's tracking URI, and what may be shown of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from adamx.inputs.errors import InputError

HIDDEN = "***"
PASSWORD = re.compile(r"(?<=://)([^:@/]*:)(.*)(?=@)")  # up to the last @: a password may have one too
SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|token|secret|key)[^=&;]*=)([^&;]+)", re.IGNORECASE)
SQLITE = re.compile(r"sqlite(?:\+\w+)?:///")


def address() -> str:
    """MLFLOW_TRACKING_URI, which `mlflow.set_tracking_uri` sets as well; else mlflow.db in the working directory.

    Raises:
        InputError: the folder cannot be named in an address.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    here = str(Path("mlflow.db").resolve())
    try:
        here.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"the working directory {os.path.dirname(here)!r} is not named in UTF-8, and MLflow's addresses are: go to "
            "another folder"
        ) from None
    # SQLAlchemy and MLflow do not agree on what a % or a ? is in a path
    return "sqlite:///mlflow.db" if set(here) & set("%?") else f"sqlite:///{here}"


def database(uri: str) -> Path | None:
    """The file of a SQLite store; None of any other store."""
    if not SQLITE.match(uri):
        return None
    import sqlalchemy as sa

    path = sa.make_url(uri).database
    return Path(path) if path and not path.startswith((":", "file:")) else None


def shown(uri: str) -> str:
    """An address without its password."""
    return SECRET.sub(rf"\1{HIDDEN}", PASSWORD.sub(rf"\1{HIDDEN}", uri))


def hidden(text: str, uri: str) -> str:
    """A text, such as an error of a store, without the password of the store's address."""
    text = text.replace(uri, shown(uri))
    for secret in (each[1] for pattern in (PASSWORD, SECRET) for each in pattern.findall(uri)):
        for word in {secret, unquote(secret)}:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", HIDDEN, text)
    return shown(text)
