"""Verdicts: how many figures of each claim held when its study was last recorded, and what README says of all of them.

`python -m adamx.reproduce --record` writes the file; the sentence and the table are made of it and of nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from adamx.reproduce import FOLDER, Check, Study

FILE = FOLDER / "verdicts.json"


class Verdict(NamedTuple):
    """How many of a study's checks held."""

    held: int
    checks: int

    def __str__(self) -> str:
        if self.held == self.checks:
            return "held"
        return f"{self.held} of {self.checks} held" if self.held else "did not hold"


def of(checks: Sequence[Check]) -> Verdict:
    """The verdict from a study's checks."""
    return Verdict(sum(check.held for check in checks), len(checks))


def read() -> dict[str, Verdict]:
    """The recorded verdicts, by study; empty where none were recorded."""
    return {name: Verdict(*found) for name, found in json.loads(FILE.read_text()).items()} if FILE.is_file() else {}


def record(found: Mapping[str, Verdict]) -> None:
    """Keep verdicts, each in place of its study's earlier one."""
    kept = {**read(), **found}
    FILE.write_text("{\n" + ",\n".join(f'  "{name}": {json.dumps(kept[name])}' for name in sorted(kept)) + "\n}\n")


def sentence(studies: Sequence[Study], found: Mapping[str, Verdict]) -> str:
    """Such as "Of 18 claims 16 hold in everything that was measured; 7 (8 of 9) and 16 (2 of 4) hold in part."."""
    known = [study for study in studies if study.name in found]
    whole = [study for study in known if found[study.name].held == found[study.name].checks]
    part = [f"{s.claims} ({found[s.name].held} of {found[s.name].checks})" for s in known if s not in whole]
    said = f"Of {len(known)} claims {len(whole)} hold in everything that was measured"
    if not part:
        return f"{said}."
    listed = " and ".join([", ".join(part[:-1]), part[-1]] if part[1:] else part)
    return f"{said}; {listed} {'hold' if part[1:] else 'holds'} in part."
