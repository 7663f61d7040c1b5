"""The verdict on tapes and logs, the command, and the page: no torch."""

from __future__ import annotations

import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest
from tapes import falling, tape_of

import adamx
from adamx.inputs.errors import InputError
from adamx.watch import log
from adamx.watch.__main__ import main
from adamx.watch.live import Live
from adamx.watch.page import MOST, _figure, page, thinned
from adamx.watch.scene import Scene, medians_before
from adamx.watch.tape import Event
from adamx.watch.verdict import CAUSES, IN_WORDS, judge


def test_a_loss_that_falls_is_healthy():
    for seed in range(5):
        found = judge(tape_of(falling(seed=seed)))
        assert found.cause == "healthy" and not found.causes and "Healthy" in str(found)


def test_what_cannot_be_told_is_said():
    few = judge(tape_of(falling(5)))
    assert few.cause == "unknown" and "too little" in str(few)
    loss = falling()
    loss[200:] *= 30
    found = judge(tape_of(loss))
    assert found.cause == "unknown" and "jumps at step 201" in str(found) and "cannot tell" in str(found)


def test_an_lr_that_jumps_before_the_loss_does_is_named():
    loss, lr = falling(), np.full(300, 1e-3)
    loss[205:], lr[200:] = 5.0, 0.1
    found = judge(tape_of(loss, lr))
    assert found.cause == "lr_jump"
    assert "from 0.001 to 0.1 at step 201, 100 times" in str(found)
    assert judge(tape_of(falling(), lr)).cause == "healthy"  # the same jump, and nothing came of it


def test_a_single_batch_out_of_line_is_named_and_a_shift_is_not_one():
    loss, norm = falling(), np.ones(300)
    loss[200], norm[200] = 30.0, 50.0
    found = judge(tape_of(loss, norm=norm))
    assert found.cause == "bad_batch" and "50 medians" in str(found)
    loss[200:], norm[200:] = 30.0, 50.0
    assert judge(tape_of(loss, norm=norm)).cause != "bad_batch"


def test_moments_that_were_lost_are_named():
    loss = falling()
    loss[200:230] *= 8
    tape = tape_of(loss)
    tape.events.append(Event(201, "moments_lost", "the optimizer's state was emptied"))
    assert judge(tape).cause == "moments_lost"


def test_every_cause_has_words():
    assert set(IN_WORDS) == set(CAUSES) - {"healthy", "unknown"} and len(CAUSES) == 14


def test_medians_before_are_of_those_before():
    y = np.random.default_rng(0).standard_normal(50)
    found = medians_before(y, 7)
    assert np.isnan(found[0])
    for i in range(1, 50):
        assert found[i] == np.median(y[max(0, i - 7) : i])


def test_the_live_regime_is_that_of_the_oracle():
    from naive import figures_of

    from adamx.regimes import classify, of_batches

    loss = falling()
    loss[220:240] *= 200
    live = Live(target=0.05, batch=32)
    for t, value in enumerate(loss):
        live.see(t, float(value))
    criteria = of_batches(0.05, 32, {})
    figures = figures_of(loss, np.zeros(len(loss)), criteria)
    assert live.regime == classify({k: np.array([v]) for k, v in figures.items()}, criteria, len(loss) - 1)[0]
    assert live.regime == "spiking" and len(live.spikes) == figures["spikes"] == 1
    assert live.spikes[0].step == figures["first_spike_step"]


LOGS = {
    "bare": "\n".join("{1}" for _ in range(300)),
    "table": "step,lr,loss,val_loss\n" + "\n".join("{0},0.001,{1},9" for _ in range(300)),
    "W&B": '"Step","run - train/loss","run - train/loss__MIN","run - train/loss__MAX"\n'
    + "\n".join('"{0}","{1}","{1}","{1}"' for _ in range(300)),
    "TensorBoard": "Wall time,Step,Value\n" + "\n".join("1700000000.5,{0},{1}" for _ in range(300)),
    "MLflow": "run_id,key,value,step,timestamp\n"
    + "\n".join("abc,train_loss,{1},{0},1700\nabc,accuracy,0.5,{0},1700" for _ in range(300)),
}


def written(path: Path, form: str, loss) -> Path:
    lines, k = [], 0
    for line in LOGS[form].splitlines():
        lines.append(line.format(k + 1, repr(float(loss[min(k, 299)]))))
        k += "{1}" in line
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("form", LOGS)
def test_logs_of_every_kind_are_read(form, tmp_path, capsys):
    loss = falling()
    loss[220:240] *= 50
    file = written(tmp_path / "losses.csv", form, loss)
    tape = log.read(file)
    assert list(tape.loss) == loss.tolist() and list(tape.loss_step) == list(range(1, 301))
    assert main([str(file), "--out", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "regime: spiking" in said and "spike at step 221" in said and "back at step 241" in said
    assert b"jumps at step 221" in (tmp_path / "page.html").read_bytes()


def test_several_runs_in_one_log_are_refused(tmp_path, capsys):
    file = tmp_path / "log.csv"
    rows = [f"{run},{key},{t},{1 / (t + 1)}\n" for run in "ab" for key in ("loss", "acc") for t in range(20)]
    file.write_text("Run ID,metric,step,value\n" + "".join(rows))
    assert main([str(file)]) == 2 and "has 2 runs in its column 'Run ID'" in capsys.readouterr().err
    file.write_text("Run ID,metric,step,value\n" + "".join(rows[:40]))
    assert main([str(file)]) == 0 and len(log.read(file).loss) == 20


def test_a_loss_that_is_nan_is_no_gap(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("step,loss\n" + "".join(f"{i},{1 / i}\n" for i in range(1, 50)) + "50,nan\n51,\n")
    tape = log.read(file)
    assert len(tape.loss) == 50 and tape.regime == "diverged"
    assert "not finite from step 50" in str(log.verdict(tape))


def test_a_log_that_cannot_be_used_is_one_line(tmp_path, capsys):
    file = tmp_path / "log.csv"
    assert main([str(file)]) == 2 and "cannot be read" in capsys.readouterr().err
    file.write_text("step,a_loss,b_loss\n1,2,3\n2,3,4\n")
    assert main([str(file)]) == 2
    assert "choose one with --loss: a_loss, b_loss" in capsys.readouterr().err
    assert main([str(file), "--loss", "c_loss"]) == 2 and "did you mean" in capsys.readouterr().err
    assert main([str(file), "--loss", "a_loss"]) == 0
    assert main([str(file), "--loss", "a_loss", "--out", "page.txt"]) == 2
    capsys.readouterr()
    file.write_text("")
    assert main([str(file)]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_log_hints_and_does_not_claim(tmp_path):
    loss = falling()
    loss[200] = 40.0
    found = log.verdict(log.read(written(tmp_path / "a.csv", "bare", loss)))
    assert found.cause == "unknown" and [c.name for c in found.causes] == ["bad_batch"]


def test_the_page_has_the_verdict_and_escapes(tmp_path):
    tape = tape_of(falling())
    tape.notes.append("<script>alert(1)</script>")
    made = page(tape, judge(tape)).decode()
    assert "<script>alert(1)</script>" not in made and "Healthy" in made


def test_several_curves_of_a_picture_are_named_in_their_colors():
    tape = tape_of(falling(), lr=1e-3)
    tape.lr.append(tape.lr[0])
    titles = [a.text for a in _figure(tape, Scene(tape)).layout.annotations]
    assert any("lr of group 1" in title and "color:#D55E00" in title for title in titles) and "loss" in titles


def test_a_thinned_curve_keeps_its_spikes():
    y = np.zeros(100_000)
    y[54_321] = 7.0
    x, kept = thinned(np.arange(100_000), y)
    assert len(x) <= MOST + 2 and kept.max() == 7.0 and x[kept.argmax()] == 54_321


def test_the_package_is_called_and_has_its_parts():
    code = "import adamx.watch.tape, adamx, sys; print(callable(adamx.watch), 'torch' in sys.modules, adamx.watch.tape)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("True False <module")
    with pytest.raises(InputError, match="torch"):
        adamx.watch(3)


def test_scenes_without_a_loss_look_at_the_gradient():
    tape = tape_of([], norm=[])
    tape.steps, tape.norm = 100, array("d", [1.0] * 99 + [50.0])
    tape.loss, tape.loss_step = array("d"), array("q")
    assert Scene(tape).episodes[0].step == 100
    assert "No loss was told" in str(judge(tape))


@pytest.mark.parametrize("seed", range(8))
def test_losses_that_wait_have_the_spikes_of_those_that_do_not(seed, monkeypatch):
    from adamx.watch import live

    draw = np.random.default_rng(seed)
    loss = falling(seed=seed) * np.exp(draw.normal(0, 0.5, 300))
    for at in draw.integers(60, 290, 4):
        loss[at : at + draw.integers(1, 12)] *= 10 ** draw.uniform(0, 4)
    loss[draw.integers(295, 300)] = np.nan

    def seen():
        one, began = Live(target=1e-4), []
        for step, value in enumerate(loss, 1):
            began += [step] if one.see(step, float(value)) else []
        return began, one.spikes, one.regime

    waiting = seen()
    monkeypatch.setattr(live, "WAIT", 1)
    assert waiting == seen() and [s.step for s in waiting[1]] == waiting[0]
