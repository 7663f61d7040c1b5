"""Skip tests that compile: `pytest --compile-nothing`, as in `make check`.

No test is marked. One that asks Numba for a kernel is left out at that moment, whether the kernel would be compiled or
is kept on the disk; so is one that starts a process, where nobody sees what is compiled. All others run to their end.
"""

import os
import sys
from pathlib import Path

import numba
import pytest
from numba.core import event

QUESTIONS = {"git", "ldconfig", "lscpu", "uname"}  # commands by which libraries ask the system


class _Asked(event.Listener):
    def on_start(self, _: event.Event) -> None:
        leave_out("it asks for a kernel")

    def on_end(self, _: event.Event) -> None:
        pass


def leave_out(why: str) -> None:
    pytest.skip(why, allow_module_level=True)


def _started(name: str, arguments: tuple) -> None:
    if "PYTEST_CURRENT_TEST" not in os.environ:  # xdist starts its workers
        return
    if name == "subprocess.Popen":
        executable, command, *_ = arguments
        if Path(os.fsdecode(executable or command[0])).name not in QUESTIONS:
            leave_out("it starts a process")
    elif name == "os.fork":
        leave_out("it starts a process")


def begin() -> None:
    numba.njit(lambda: None)  # Numba takes its lock once for what it knows of this machine
    sys.modules["playwright.sync_api"] = None  # a browser is a process too, and half started it leaves a loop behind
    event.register("numba:compiler_lock", _Asked())
    sys.addaudithook(_started)
