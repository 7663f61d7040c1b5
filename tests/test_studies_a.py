"""The quick studies run, draw, and find what they found before: every check holds but for the findings named here."""

import matplotlib.pyplot as plt
import pytest

from adamx.analysis.style import png, styled
from adamx.study import study

FINDINGS = {  # what does not hold: the claim, not the code
    "momentum_forgets": [],
    "saddle": [],
    "eps_threshold": [
        "orders of magnitude that |x| falls from 0.98 to 1.02 ε*, β1 = 0",
        "orders of magnitude that |x| falls from 0.98 to 1.02 ε*, β1 = 0.99",
    ],
    "quartic_phases": [
        "share of the map: all three as named",
        "share of spiking runs a quarter of the strip's width below and above the second border",
        "largest late |x| over lr/2 at β1 = 0.99, β2 = 0.93",
    ],
}


@pytest.mark.parametrize("name", FINDINGS)
def test_quick_study(name):
    made = study(name)
    runs = made.run()
    checks = made.check(runs)
    assert [check.what for check in checks if not check.held] == FINDINGS[name]
    assert all(check.why for check in checks)
    with styled():
        assert png(made.figure(runs)).startswith(b"\x89PNG")
    assert not plt.get_fignums(), "a study makes a Figure of its own, not one of pyplot's"
