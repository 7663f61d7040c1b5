"""Studies: all claims are there, the quick ones run and find what they found before, and reproduce records them."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from adamx.analysis.style import png, styled
from adamx.inputs.files import load
from adamx.portable.precision import rounded
from adamx.reproduce import FOLDER, Check, studies, study, verdicts
from adamx.reproduce import __main__ as reproduce
from adamx.sweep.command import CONF

QUICK = [each.name for each in studies() if each.quick]
FINDINGS = {  # checks that do not hold: the claim is wrong, not the code
    "quartic_phases": [
        "share spiking between the claimed second border and that of Tang et al.",
        "largest late |x| over lr/2 at β1 = 0.99, β2 = 0.93",
    ],
}


def module(name):
    return load("", "study", str(FOLDER / f"{name}.py"))


def test_every_claim_has_its_study():
    assert [number for each in studies() for number in map(int, each.claims.split(","))] == list(range(1, 19))
    assert all(each.title and each.source and each.seconds > 0 for each in studies())
    assert sum(each.seconds for each in studies()) < 15 * 60


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_study(name):
    made = study(name)
    runs = made.run()
    checks = made.check(runs)
    assert [check.what for check in checks if not check.held] == FINDINGS.get(name, [])
    assert all(check.why for check in checks)
    assert verdicts.read()[name] == verdicts.of(checks), "python -m adamx.reproduce --record"
    with styled():
        assert png(made.figure(runs)).startswith(b"\x89PNG")
    assert not plt.get_fignums(), "a study makes a Figure of its own, not one of pyplot's"


def test_reproduce_records_what_it_found(here, capsys):
    assert reproduce.main(["momentum_forgets", "--out", "figures"]) == 0
    out = capsys.readouterr().out
    assert "mlflow ui" in out and "held" in out
    assert (here / "figures" / "momentum_forgets.png").stat().st_size > 5000
    client = MlflowClient("sqlite:///mlflow.db")
    parents = [run for run in client.search_runs(["1"]) if "verdict" in run.data.tags]
    assert [(run.info.run_name, run.info.status) for run in parents] == [("study momentum_forgets", "FINISHED")]
    assert parents[0].data.tags["verdict"] == "held" and parents[0].data.tags["claims"] == "3"
    assert parents[0].data.tags["command"] == "python -m adamx.reproduce momentum_forgets"
    names = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert {"momentum_forgets.png", "checks.md", "table.parquet", "curves.parquet"} <= names


def test_a_name_that_does_not_exist_is_one_line(here, capsys):
    assert reproduce.main(["eps_treshold"]) == 2
    assert "did you mean 'eps_threshold'" in capsys.readouterr().err
    assert reproduce.main(["99"]) == 2
    assert not (here / "mlflow.db").exists()


def test_lists(capsys):
    assert reproduce.main(["--list", "--quick"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("rmsprop_pops", "first_spike"))
    assert reproduce.main(["--markdown"]) == 0
    readme = Path(__file__).parents[2].joinpath("experiments/studies/README.md").read_text()
    table = re.search(r"<!-- studies -->\n(.*?)<!-- /studies -->", readme, re.DOTALL)[1]
    assert table == capsys.readouterr().out, "python -m adamx.reproduce --markdown makes it"


def test_verdicts():
    good, bad = (Check("a | b", "1", "2", held, "why") for held in (True, False))
    assert [str(verdicts.of(each)) for each in ([good], [bad, bad], [good, bad])] == [
        "held",
        "did not hold",
        "1 of 2 held",
    ]


def test_the_sentence_of_verdicts():
    Verdict, known = verdicts.Verdict, studies()
    first, second, third = (each.name for each in known[:3])
    said = [
        verdicts.sentence(known, found)
        for found in (
            {first: Verdict(2, 2)},
            {first: Verdict(2, 2), second: Verdict(1, 2)},
            {first: Verdict(0, 3), second: Verdict(1, 2), third: Verdict(3, 4)},
        )
    ]
    assert said == [
        "Of 1 claims 1 hold in everything that was measured.",
        "Of 2 claims 1 hold in everything that was measured; 2 (1 of 2) holds in part.",
        "Of 3 claims 0 hold in everything that was measured; 1 (0 of 3), 2 (1 of 2) and 3 (3 of 4) hold in part.",
    ]


def test_readme_says_what_the_studies_found():
    recorded = verdicts.read()
    assert set(recorded) == {each.name for each in studies()}
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    said = re.search(r"<!-- verdicts -->\n(.*?)<!-- /verdicts -->", readme, re.DOTALL)[1]
    assert " ".join(said.split()) == verdicts.sentence(studies(), recorded), "python -m adamx.reproduce --markdown"


def test_recording_keeps_what_other_studies_found(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "FILE", tmp_path / "verdicts.json")
    assert verdicts.read() == {}
    verdicts.record({"saddle": verdicts.Verdict(1, 2), "ravine": verdicts.Verdict(3, 3)})
    verdicts.record({"saddle": verdicts.Verdict(2, 2)})
    assert verdicts.read() == {"saddle": verdicts.Verdict(2, 2), "ravine": verdicts.Verdict(3, 3)}


def kept(v, g, format, steps):
    """v as a format keeps it, in NumPy's float32."""
    beta2, g = np.float32(0.999), np.float32(g)
    for _ in range(steps):
        v = rounded(beta2 * v + (1 - beta2) * g * g, format).reshape(())[()]
    return float(v)


@pytest.mark.parametrize(
    ("format", "share", "v"), [("bfloat16", None, 0.25), ("float16", 0.99, 0.0), ("float16", 1.01, None)]
)
def test_where_v_is_stuck_in_16_bits(format, share, v):
    half = module("half_precision")
    g = 1.0 if share is None else share * half.LEAST
    assert kept(np.float32(0), g, format, 2000) == (half.STUCK if v is None else v)


@pytest.mark.parametrize(("half_life", "expected"), [(1024.0, 1.0), (256.0, 1.0), (None, 0.0)])
def test_the_slope_of_a_known_ridge(half_life, expected):
    """A loss that is least at one half-life, or at one β2, and 10 % worse at twice and at half of that."""
    batch = module("batch_and_beta2")
    one_beta2 = batch.BATCH / batch.BATCH[0] * batch.HALF_LIFE[0]
    best = one_beta2 if half_life is None else np.full(len(batch.BATCH), half_life)
    off = 0.1 * np.abs(np.log2(batch.HALF_LIFE[None, :] / best[:, None]))
    log_loss = np.broadcast_to(off[:, :, None, None], (*off.shape, len(batch.LR), batch.SEEDS))
    over = batch.excess(log_loss)
    np.testing.assert_allclose(over, off)
    assert batch.slope(batch.HALF_LIFE[over.argmin(axis=1)]) == pytest.approx(expected)
    one_half_life, one_beta2 = batch.kept(over)
    assert (one_half_life < one_beta2) == (half_life is not None)
    if half_life is not None:
        np.testing.assert_allclose(batch.edge(over), half_life / 2**0.5)
        assert batch.slope(batch.edge(over)) == pytest.approx(1)


def test_the_wide_grid_is_the_preset():
    text = (CONF / "preset" / "wide_grid.yaml").read_text()
    preset, wide = yaml.safe_load(text), module("wide_grid")
    assert preset == {"optimizer": wide.BOX, "samples": wide.POINTS, "dtype": "float32"}
