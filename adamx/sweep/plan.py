"""Plan: the launches of a sweep from what was typed, and the journal of one that is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from adamx.engine.launch import Launch
from adamx.inputs.errors import InputError
from adamx.inputs.files import as_they_were
from adamx.record.address import address
from adamx.sweep import journal
from adamx.sweep.arguments import Arguments, read
from adamx.sweep.compose import Composer
from adamx.sweep.journal import Journal
from adamx.sweep.run import check_resumable
from adamx.sweep.sweeper import Sweeper


class Plan(NamedTuple):
    """The arguments of `run.perform`.

    Attributes:
        overrides: of the record. resumed: the journal of the sweep that they began, if it was interrupted.
    """

    launches: list[Launch]
    overrides: list[str]
    resumed: Journal | None


@contextmanager
def planned(typed: Arguments) -> Iterator[tuple[Plan, list[str]]]:
    """The plan of a command line, and lines that say what its overrides mean where they do not say it themselves.

    Within it a user's files are those that an interrupted sweep began with.

    Raises:
        InputError: what was typed cannot be used.
    """
    resumed = _resumed(typed)
    try:
        if resumed:
            typed = read(resumed.about["overrides"])
        with as_they_were(resumed.files if resumed else {}):
            with Composer("sweep", typed) as composer:
                sweeper = Sweeper(composer)
                own = [word for word in typed.overrides if word not in composer.hydras]
                words = own if resumed else sweeper.arguments()
                launches = sweeper.launches(words)
            yield Plan(launches, [*typed.options, *composer.hydras, *words], resumed), sweeper.notes
    finally:
        if resumed:
            resumed.release(done=False)


def _resumed(typed: Arguments) -> Journal | None:
    """The journal that `resume=` names; it goes alone, with all that the sweep began with."""
    named = [word for word in typed.overrides if word.lstrip("+").startswith("resume=")]
    if not named or named[-1].endswith("=null"):
        return None
    if len(typed.words) > 1:
        raise InputError(f"{named[0]} goes alone, with the overrides that the sweep began with")
    return journal.find(address(), named[0].partition("=")[2], check_resumable)
