"""The plugins of adamx for Hydra: it looks in modules of this package alone, and at classes that they define."""

from adamx.sweep import sources


class Files(sources.PythonFiles):
    """Python files as options of a group: searchpath adamx://."""


class Folders(sources.Folders):
    """The search path of `python -m adamx.sweep` and `python -m adamx.race`."""
