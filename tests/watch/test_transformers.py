"""The callback for the Trainer of transformers: the loss of every step, its logs, checkpoints, and nothing changed."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402
from adamx.watch.transformers import AVERAGED, Watch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")

ROWS, BATCH = 64, 4


def model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=16, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    config.bos_token_id = config.eos_token_id = 0
    return transformers.GPT2LMHeadModel(config)


def rows():
    ids = torch.randint(0, 8, (ROWS, 16), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in ids]


def trainer(folder, callbacks=None, **options):
    options = {"logging_steps": 5, "num_train_epochs": 1, "report_to": [], **options}
    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=BATCH, use_cpu=True, disable_tqdm=True, learning_rate=1e-2,
        save_strategy="no", seed=3, **options,
    )  # fmt: skip
    return transformers.Trainer(model(), arguments, train_dataset=rows(), callbacks=callbacks)


def test_it_has_the_loss_of_every_step_and_changes_nothing(tmp_path, capsys):
    alone, watched = trainer(tmp_path, logging_steps=1), trainer(tmp_path, logging_steps=1)
    w = Watch(watched, every=3)
    alone.train()
    watched.train()
    for p, q in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(p, q)
    losses = [log["loss"] for log in alone.state.log_history if "loss" in log]
    norms = [log["grad_norm"] for log in alone.state.log_history if "grad_norm" in log]
    assert list(w.tape.loss) == pytest.approx(losses, abs=1e-4) and list(w.tape.loss_step) == list(range(1, 17))
    assert w.tape.steps == 16 and w.tape.rows == [1, 2, 3, 4, 5, 6, 9, 12, 15]
    # clipped: as the optimizer has them
    assert list(w.tape.norm) == pytest.approx([min(n, 1.0) for n in norms], rel=1e-3)
    assert "adamx.watch: " in capsys.readouterr().out and w.watches[0].closed
    assert type(w.watches[0].probe.optimizer) is torch.optim.AdamW


def test_its_figures_are_in_the_trainers_logs(tmp_path):
    seen = []

    class Reporter(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append(dict(logs))

    one = trainer(tmp_path, [Reporter()])
    w = Watch(one, every=5, say=False)
    one.train()
    logged = [log for log in one.state.log_history if "watch/grad_norm" in log]
    assert [log["step"] for log in logged] == [5, 10, 15]
    at = [w.tape.rows.index(log["step"]) for log in logged]
    assert [log["watch/step_rms"] for log in logged] == [w.tape.whole["step_rms"][i] for i in at]
    assert [log["watch/lag"] for log in seen if "watch/lag" in log] == [w.tape.whole["lag"][i] for i in at]


@pytest.mark.parametrize("accumulate", [2, 4])
def test_the_loss_of_accumulated_gradients_is_that_of_the_step(tmp_path, accumulate):
    one = trainer(tmp_path, logging_steps=1, gradient_accumulation_steps=accumulate)
    w = Watch(one, say=False)
    one.train()
    losses = [log["loss"] for log in one.state.log_history if "loss" in log]
    assert w.tape.steps == ROWS // BATCH // accumulate and list(w.tape.loss) == pytest.approx(losses, abs=1e-4)


def test_among_the_callbacks_it_is_told_the_logged_averages(tmp_path):
    w = Watch(every=5, say=False)
    one = trainer(tmp_path, [w])
    one.train()
    losses = [log["loss"] for log in one.state.log_history if "loss" in log]
    assert list(w.tape.loss_step) == [5, 10, 15] and list(w.tape.loss) == pytest.approx(losses)
    assert AVERAGED in w.verdict.sentences and w.tape.steps == 16


def test_it_goes_on_from_a_checkpoint(tmp_path):
    whole = trainer(tmp_path / "whole")
    all_ = Watch(whole, say=False)
    whole.train()
    first = trainer(tmp_path)
    first.args.save_strategy, first.args.save_steps = transformers.trainer_utils.SaveStrategy.STEPS, 10
    first.train()
    second = trainer(tmp_path)
    w = Watch(second, every=1, say=False)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert (w.tape.first, w.tape.last) == (11, 16) and not w.tape.events
    assert list(w.tape.loss) == pytest.approx(list(all_.tape.loss)[10:], rel=1e-4)
    state = json.loads((tmp_path / "checkpoint-10" / "trainer_state.json").read_text())
    assert state["global_step"] == 10


def test_bad_use_is_one_line(tmp_path):
    with pytest.raises(InputError, match="trainer is Linear: a Trainer of transformers is needed"):
        adamx.watch.transformers.Watch(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="unknown option of the watch 'step'"):
        Watch(step=3)
    with pytest.raises(InputError, match="the training has not begun"):
        Watch().report(tmp_path / "run.html")
