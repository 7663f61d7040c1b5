"""The list of optimizers: complete, true to the recorded peers, and the same in the README beside them."""

import subprocess
import sys
from pathlib import Path

import peers
import pytest

import adamx.optimizers
from adamx.inputs.files import load
from adamx.optimizers import PACKAGE, optimizers, rule
from adamx.optimizers import __main__ as catalogue

README = Path(adamx.optimizers.__file__).with_name("README.md")


@pytest.mark.parametrize("name", optimizers())
class TestEveryRule:
    def test_says_where_its_eps_stands(self, name):
        eps = getattr(load(PACKAGE, "optimizer", name), "EPS", "")
        assert eps, "a rule says where its eps stands: EPS = 'outside the root' or the like"
        assert eps.startswith("none") == ("eps" not in rule(name).defaults)
        assert ("eps_root" in eps) == ("eps_root" in rule(name).defaults)

    def test_matches_what_it_is_tested_against(self, name):
        matches = getattr(load(PACKAGE, "optimizer", name), "MATCHES", ())
        documented = {match.partition("(")[0].replace(".optim.", ".").replace(".contrib.", ".") for match in matches}
        assert documented == {f"{library}.{peer}" for mine, _, library, peer, _ in peers.CASES.values() if mine == name}


def test_readme_has_the_table(capsys):
    assert catalogue.main(["--markdown"]) == 0
    table = README.read_text().partition("<!-- optimizers -->\n")[2].partition("<!-- /optimizers -->")[0]
    assert table.strip() == capsys.readouterr().out.strip(), "python -m adamx.optimizers --markdown makes it"


def test_piped_list_has_a_line_a_rule():
    done = subprocess.run([sys.executable, "-m", PACKAGE], capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [cells[0] for cells in lines[1:]] == list(optimizers())
    assert {len(cells) for cells in lines} == {len(catalogue.HEADER)}
    assert "\x1b" not in done.stdout


def test_a_terminal_gets_a_table(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert catalogue.main([]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" in shown
    assert all(name in shown for name in optimizers())


def test_one_rule_in_full(capsys):
    assert catalogue.main(["adamw"]) == 0
    shown = capsys.readouterr().out
    for words in ("arXiv 1711.05101", "x_t = ", "weight_decay     0.01", "0 <= beta2 < 1", "torch.optim.AdamW"):
        assert words in shown


def test_wrong_name_is_one_line(capsys):
    assert catalogue.main(["adom"]) == 2
    assert "did you mean 'adam'" in capsys.readouterr().err
