"""The callback for Lightning: it sees what a watch in a loop of one's own sees, and changes nothing."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*TensorBoardX.*",
    "ignore:GPU available but not used",
)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request):
    pytest.importorskip(request.param.partition(".")[0])
    import logging

    logging.getLogger(request.param).setLevel(logging.ERROR)
    return importlib.import_module(request.param)


def watch(**options):
    return adamx.watch.lightning.Watch(**options)


def data():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=draw)
    return list(zip(x.split(4), (x.sum(1, keepdim=True).sin()).split(4), strict=True))


def loader(batches=None):
    return torch.utils.data.DataLoader(batches or data(), batch_size=None)


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))


def module(pl, lr=1e-2):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def training_step(self, batch, batch_idx):
            x, y = batch
            return ((self.net(x) - y) ** 2).mean()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=lr)

    return Module()


def trainer(pl, tmp_path, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    options = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, **options}
    return pl.Trainer(callbacks=list(callbacks), default_root_dir=tmp_path, **quiet, **options)


def by_hand(accumulate=1, epochs=2):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with adamx.watch(optimizer, every=3) as w:
        batches = data()
        for _ in range(epochs):
            for i in range(0, len(batches), accumulate):
                optimizer.zero_grad()
                losses = [((model(x) - y) ** 2).mean() / accumulate for x, y in batches[i : i + accumulate]]
                sum(losses).backward()
                w.loss(sum(losses))
                optimizer.step()
    return model, w


@pytest.mark.parametrize("accumulate", [1, 4])
def test_it_sees_what_a_watch_sees(pl, tmp_path, accumulate, capsys):
    seen, model = watch(every=3), module(pl)
    trainer(pl, tmp_path, seen, accumulate_grad_batches=accumulate).fit(model, loader())
    alone, w = by_hand(accumulate)
    assert seen.tape.rows == w.tape.rows and list(seen.tape.loss_step) == list(w.tape.loss_step)
    assert list(seen.tape.loss) == pytest.approx(list(w.tape.loss), rel=1e-5)
    for name, values in w.tape.whole.items():
        assert seen.tape.whole[name] == pytest.approx(values, rel=1e-4), name
    for p, q in zip(model.net.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-5)
    assert "adamx.watch: " in capsys.readouterr().out and seen.watches[0].closed


def test_a_watched_training_is_the_same_to_the_bit(pl, tmp_path):
    model, alone = module(pl), module(pl)
    trainer(pl, tmp_path, watch(every=2, say=False)).fit(model, loader())
    trainer(pl, tmp_path).fit(alone, loader())
    assert all(map(torch.equal, model.parameters(), alone.parameters()))


def test_it_writes_into_the_trainers_loggers(pl, tmp_path):
    logger = importlib.import_module(f"{pl.__name__}.loggers").CSVLogger(tmp_path)
    seen = watch(every=4, say=False)
    trainer(pl, tmp_path, seen, logger=logger, log_every_n_steps=1).fit(module(pl), loader())
    import pandas as pd

    table = pd.read_csv(next(tmp_path.rglob("metrics.csv")))
    assert table["step"].tolist() == seen.tape.rows
    assert table["watch/grad_norm"].to_numpy() == pytest.approx(np.array(seen.tape.whole["grad_norm"]))


def test_it_goes_on_from_a_checkpoint(pl, tmp_path):
    first = trainer(pl, tmp_path, watch(say=False), max_epochs=1)
    first.fit(module(pl), loader())
    first.save_checkpoint(tmp_path / "one.ckpt")
    seen = watch(every=1, say=False)
    trainer(pl, tmp_path, seen, max_epochs=2).fit(module(pl), loader(), ckpt_path=tmp_path / "one.ckpt")
    _, whole = by_hand()
    assert (seen.tape.first, seen.tape.last) == (17, 32) and not seen.tape.events
    assert list(seen.tape.loss) == pytest.approx(list(whole.tape.loss)[16:], rel=1e-4)


def test_optimizers_under_manual_optimization_have_a_watch_each(pl, tmp_path, capsys):
    class Two(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.automatic_optimization = net(), net(), False

        def training_step(self, batch, batch_idx):
            x, y = batch
            for times, part, optimizer in zip((1, 100), (self.a, self.b), self.optimizers(), strict=True):
                optimizer.zero_grad()
                self.manual_backward(times * ((part(x) - y) ** 2).mean())
                optimizer.step()

        def configure_optimizers(self):
            return torch.optim.SGD(self.a.parameters(), lr=1e-3), torch.optim.Adam(self.b.parameters(), lr=1e-3)

    seen = watch(every=4)
    trainer(pl, tmp_path, seen).fit(Two(), loader())
    one, other = seen.watches
    assert one.tape.steps == other.tape.steps == 32 and list(one.tape.loss_step) == list(range(1, 33))
    assert other.tape.loss[0] == pytest.approx(100 * one.tape.loss[0], rel=1e-5)
    assert "adamx.watch, optimizer 1: " in capsys.readouterr().out
    with pytest.raises(InputError, match="2 optimizers are watched"):
        _ = seen.verdict
    with pytest.raises(InputError, match="mlflow=True with 2 optimizers"):
        trainer(pl, tmp_path, watch(mlflow=True)).fit(Two(), loader())


def test_a_scaler_is_taken_into_account(pl, tmp_path):
    plugin = importlib.import_module(f"{pl.__name__}.plugins").MixedPrecision
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    seen, model = watch(every=1, say=False), module(pl)
    batches = data()
    batches[3] = batches[3][0], torch.full_like(batches[3][1], math.inf)
    mixed = plugin("16-mixed", "cpu", scaler)
    trainer(pl, tmp_path, seen, plugins=[mixed], max_epochs=1).fit(model, loader(batches))
    assert [e.kind for e in seen.tape.events if e.kind == "skipped"] == ["skipped"]
    assert seen.tape.steps == 15
    assert seen.tape.loss[0] == pytest.approx(by_hand()[1].tape.loss[0], rel=1e-2)  # of float16, and not scaled
    assert seen.tape.whole["grad_norm"][0] == pytest.approx(by_hand()[1].tape.whole["grad_norm"][0], rel=1e-2)


def test_bad_use_is_one_line():
    pytest.importorskip("lightning")
    with pytest.raises(InputError, match="unknown option of the watch 'evry': did you mean 'every'"):
        watch(evry=3)
    with pytest.raises(InputError, match="the training has not begun"):
        _ = watch().verdict
