"""Commands: how `python -m adamx.…` ends, whatever happens on its way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from adamx.inputs.errors import InputError

Arguments = ParamSpec("Arguments")


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """A `main` that ends with an exit code: its own, 2 for input that cannot be used, said in a line, 130 for Ctrl-C.

    A reader that leaves early, such as `head`, is no error.
    """

    @wraps(main)
    def ended(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            code = main(*args, **kwargs)
            sys.stdout.flush()
            return code
        except InputError as error:
            print(f"adamx: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    return ended
