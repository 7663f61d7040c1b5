"""Models of torch and jax as problems: the digits' network has the loss curve that the kernel gives it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import adamx
from adamx.engine import simulate as engine
from adamx.engine.model import run as of_model
from adamx.engine.results import concatenate
from adamx.inputs.errors import InputError
from adamx.instruments import INSTRUMENTS, LANDSCAPE
from adamx.optimizers import optimizers
from adamx.portable import rng
from adamx.problems import problem
from adamx.problems._model import Model

RULES = ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "adabelief", "adopt", "lamb", "radam"]
TASK = problem("digits_mlp", {"hidden": (8,), "batch": 32})
OF_TASKS = tuple(name for name in INSTRUMENTS if LANDSCAPE not in INSTRUMENTS[name].needs)
LR = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.05}


def start(seed):
    rng, (a, b, c) = np.random.default_rng(seed), TASK.model.widths
    draw = lambda *shape: rng.normal(size=shape) * np.sqrt(2 / shape[0])
    return {"w1": draw(a, b), "b1": np.zeros(b), "w2": draw(b, c), "b2": np.zeros(c)}


def in_torch():
    torch = pytest.importorskip("torch")

    def loss(p, batch):
        x, y = batch
        return torch.nn.functional.cross_entropy((x @ p["w1"] + p["b1"]).relu() @ p["w2"] + p["b2"], y)

    init = lambda seed: {name: torch.as_tensor(leaf) for name, leaf in start(seed).items()}
    return Model(loss, init, (TASK.x, TASK.y.astype(int)), batch=32, target=0.1)


def in_jax():
    jax = pytest.importorskip("jax")

    def loss(p, batch):
        x, y = batch
        z = jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]
        return -jax.numpy.mean(jax.numpy.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    names = {"w1": "a", "b1": "b", "w2": "c", "b2": "d"}  # jax sorts the names
    renamed = lambda p, batch: loss({name: p[short] for name, short in names.items()}, batch)
    init = lambda seed: {names[name]: leaf for name, leaf in start(seed).items()}
    return Model(renamed, init, (TASK.x, TASK.y.astype(int)), batch=32, target=0.1)


@pytest.mark.parametrize("made", [in_torch, in_jax])
@pytest.mark.parametrize("name", RULES)
def test_a_model_has_the_loss_curve_of_the_kernel(name, made):
    model, seeds = made(), [0, 3, 0]
    hyper = {"lr": LR.get(name, 0.003) * np.array([1.0, 1.0, 0.5]), "seed": seeds}
    x0 = np.stack([np.concatenate([leaf.ravel() for leaf in start(seed).values()]) for seed in seeds])
    options = {"steps": 300, "record_every": 50}
    found = adamx.simulate(name, model, hyper, **options)
    kernel = adamx.simulate(name, TASK, hyper, x0=x0, **options)
    np.testing.assert_allclose(found.loss, kernel.loss, rtol=1e-10)
    np.testing.assert_allclose(found.x, kernel.x, rtol=1e-7, atol=1e-9)
    assert found.regime.tolist() == kernel.regime.tolist()
    for key, values in kernel.figures.items():
        np.testing.assert_allclose(found.figures[key], values, rtol=1e-9, err_msg=key)


SHOWN = {
    "adam": OF_TASKS, "rmsprop": OF_TASKS, "lamb": OF_TASKS, "lion": ("grad_norm", "update_rms", "largest_step"),
    "sgd": ("grad_norm", "largest_step", "effective_lr", "sharpness"),
}  # fmt: skip


@pytest.mark.parametrize("made", [in_torch, in_jax])
@pytest.mark.parametrize("name", SHOWN)
def test_a_model_has_the_instruments_of_the_kernel(name, made):
    hyper = {"lr": LR.get(name, 0.003) * np.array([1.0, 1.0, 0.5]), "seed": [0, 3, 0]}
    x0 = np.stack([np.concatenate([leaf.ravel() for leaf in start(seed).values()]) for seed in hyper["seed"]])
    options = {"steps": 40, "record_every": 15, "schedule": "cosine", "instruments": SHOWN[name]}
    found = adamx.simulate(name, made(), hyper, **options)
    kernel = adamx.simulate(name, TASK, hyper, x0=x0, **options)
    curves = [curve for chosen in SHOWN[name] for curve in INSTRUMENTS[chosen].curves]
    assert set(found.curves) == set(curves)
    for curve in curves:
        assert np.isfinite(found.curves[curve][:-1]).all()
        np.testing.assert_allclose(found.curves[curve], kernel.curves[curve], rtol=1e-9, err_msg=curve)
    blind = adamx.simulate(name, made(), hyper, **{**options, "instruments": ()})
    assert np.array_equal(found.loss, blind.loss) and np.array_equal(found.x, blind.x)


def test_a_module_and_what_it_may_not_hold():
    torch = pytest.importorskip("torch")
    nn, data = torch.nn, (TASK.x, TASK.y.astype(int))
    layers = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)).double()
    model = Model.of(layers, nn.functional.cross_entropy, data, batch=32)
    found = adamx.simulate("adam", model, adamx.grid(lr=[0.01, 0.02], seed=[0, 1]), steps=60, record_every=30)
    assert (found.loss[-1] < 0.5 * found.loss[0]).all() and found.loss[0, 0] != found.loss[0, 1]
    for layer, said in [(nn.BatchNorm1d(8), "GroupNorm"), (nn.Dropout(0.1), "set it to 0")]:
        with pytest.raises(InputError, match=said):
            Model.of(nn.Sequential(nn.Linear(64, 8), layer), nn.functional.cross_entropy, data)


def test_every_seed_starts_as_torch_starts_a_layer():
    """Layers that are made of others too; the constructor itself is the oracle."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn
    data = (np.zeros((4, 3, 8), np.float32), np.zeros(4))
    for make in (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        lambda: nn.MultiheadAttention(8, 2),
        lambda: nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))),
    ):
        model = Model.of(make(), lambda out, y: out.sum(), data)
        one, other = model.init(1), model.init(2)
        torch.manual_seed(1)
        for name, meant in make().named_parameters():
            same = torch.equal(one[name], other[name])
            assert same == bool((meant == meant.flatten()[0]).all()), name  # biases 0 and gains 1 are no draws
            assert abs(one[name].std(correction=0) - meant.std(correction=0)) < 0.5 * meant.std(correction=0) + 1e-9, (
                name
            )
            assert torch.equal(one[name], model.init(1)[name])


def test_a_function_that_makes_a_module_starts_it_as_its_own_code_says():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.place = nn.Linear(2, 2, bias=False), nn.Parameter(torch.randn(3))
            nn.init.normal_(self.layer.weight, std=1e-3)

    model = Model.of(Small, nn.functional.mse_loss, (np.zeros((4, 2)), np.zeros((4, 2))))
    torch.manual_seed(5)
    meant, state = dict(Small().named_parameters()), torch.random.get_rng_state()
    for name, leaf in model.init(5).items():
        assert torch.equal(leaf, meant[name]) and not torch.equal(leaf, model.init(6)[name])
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(InputError, match=r"module is dict: a torch.nn.Module, or a function"):
        Model.of({}, nn.functional.mse_loss, (np.zeros((4, 2)), np.zeros((4, 2))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"data": (np.ones(3), np.ones(2))}, "as many each"),
        ({"data": 3}, "a tuple of arrays"),
    ],
)
def test_what_is_typed_wrong_is_said(options, said):
    with pytest.raises(InputError, match=said):
        Model(**{"loss": min, "init": min, "data": (np.ones(3),), **options})


def test_what_models_have_not_is_said():
    for chosen, said in [("path", "'path' is of landscapes; model is a model"), ("crossings", "is of landscapes")]:
        with pytest.raises(InputError, match=said):
            adamx.simulate("adam", in_torch(), {"lr": 0.1}, steps=1, instruments=[chosen])
    torch = pytest.importorskip("torch")
    far = Model(
        lambda p, batch: torch.cdist(batch[0] @ p["w"], batch[0]).mean(), lambda _: {"w": torch.eye(3)}, (np.eye(3),)
    )
    with pytest.raises(InputError, match="'sharpness' needs a loss with forward derivatives; model has none") as error:
        adamx.simulate("sgd", far, {"lr": 0.1}, steps=1, instruments=["sharpness"])
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(InputError, match="backend=cpu"):
        adamx.simulate("adam", in_torch(), {"lr": 0.1}, steps=1, backend="cuda")


def test_a_file_with_a_model_is_a_problem(tmp_path):
    pytest.importorskip("torch")
    text = (
        "import torch, adamx, numpy as np\n"
        "def init(seed):\n    return {'w': torch.ones(3, dtype=torch.float64)}\n"
        "def loss(p, batch):\n    return ((batch[0] @ p['w']) ** 2).mean() * SCALE\n"
        "model = adamx.Model(loss=loss, init=init, data=(np.eye(3),))\n"
    )
    made = []
    for i, scale in enumerate(("1.0", "1.0", "2.0")):
        path = tmp_path / f"mine{i}.py"
        path.write_text(text.replace("SCALE", scale))
        made.append(problem(str(path), None, {"spike_ratio": 7.0}))
    assert made[0].digest == made[1].digest != made[2].digest
    assert made[0].criteria.spike_ratio == 7.0 and made[0].name == "mine0"
    found = adamx.simulate("sgd", str(tmp_path / "mine0.py"), {"lr": [0.1, 0.2]}, steps=2)
    np.testing.assert_allclose(found.loss[:, 0], [1.0, (1 - 0.2 / 3) ** 2, (1 - 0.2 / 3) ** 4], rtol=1e-14)
    assert problem(str(tmp_path / "mine0.py"), made[0].settings).digest == made[0].digest
    assert problem(str(tmp_path / "mine0.py"), {"batch": 2}).setup == {"batch": 2}
    built = tmp_path / "built.py"
    built.write_text(text.replace("SCALE", "1.0").replace("model =", "def build(target=0.5):\n    return"))
    one = problem(str(built), {"target": 0.25})
    assert one.setup == {"target": 0.25} and problem(str(built), one.settings).settings == one.settings
    with pytest.raises(InputError, match="unknown setting"):
        problem(str(tmp_path / "mine0.py"), {"rows": 3})


def test_a_models_content_is_the_same_in_every_process(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "mine.py").write_text(
        "import torch, adamx, numpy as np\n"
        "net = torch.nn.Linear(3, 1)\n"
        "model = adamx.Model.of(net, torch.nn.functional.mse_loss, (np.eye(3), np.ones((3, 1))))\n"
    )
    code = "from adamx.problems import problem; print(problem('mine.py').digest)"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }  # fmt: skip
    assert len(said) == 1


def test_a_run_in_torch_does_not_know_its_neighbours():
    model, rates = in_torch(), np.geomspace(1e-3, 1e-1, 9)
    several = adamx.simulate("adam", model, {"lr": rates}, steps=20, dtype="float32")
    for runs in (1, 2, 5):
        few = adamx.simulate("adam", model, {"lr": rates[:runs]}, steps=20, dtype="float32")
        assert np.array_equal(few.loss, several.loss[:, :runs]) and np.array_equal(few.x, several.x[:runs])


MINE = """
import os, torch, adamx, numpy as np
def init(seed):
    return {"w": torch.randn(3, generator=torch.Generator().manual_seed(seed)), "b": torch.zeros(())}
def loss(p, batch):
    ONCE
    return ((batch[0] @ p["w"] + p["b"] - batch[1]) ** 2).mean()
x = np.random.default_rng(0).normal(size=(40, 3))
model = adamx.Model(loss=loss, init=init, data=(x, x.sum(1)), batch=4)
"""


@pytest.fixture
def mine(tmp_path):
    """A file with a model, whose loss begins with the given statement."""
    pytest.importorskip("torch")

    def made(once="pass"):
        path = tmp_path / "mine.py"
        path.write_text(MINE.replace("ONCE", once))
        return problem(str(path))

    return made


def test_processes_give_the_same_bits(mine, monkeypatch):
    model, ticks = mine(), []
    monkeypatch.setattr(of_model, "MOST", 3)
    monkeypatch.setattr(of_model, "LEAST", 2)
    grid = adamx.grid(lr=np.geomspace(1e-3, 0.3, 4), seed=[0, 1])
    options = dict(steps=30, record_every=10, dtype="float32", instruments=["grad_norm", "sharpness"])
    here = adamx.simulate("adam", model, grid, engine="stacked", **options)
    for threads in (2, 3):
        monkeypatch.setattr("adamx.engine.cpu.threads.count", lambda threads=threads: threads)
        found = concatenate(engine.stream("adam", model, grid, tick=ticks.append, engine="processes", **options))
        assert np.array_equal(found.x, here.x) and np.array_equal(found.loss, here.loss)
        assert all(np.array_equal(found.curves[k], here.curves[k], equal_nan=True) for k in here.curves)
        assert all(np.array_equal(found.figures[k], here.figures[k]) for k in here.figures)
    assert ticks[-1] == 8 * 30 and len(set(ticks)) > 2


def test_auto_measures_both_ways_and_keeps_the_faster(mine, monkeypatch):
    monkeypatch.setattr(of_model, "SHORT", 0.0)
    monkeypatch.setattr(of_model, "TRIAL", 1e-9)
    monkeypatch.setattr(of_model, "MOST", 2)
    monkeypatch.setattr(of_model, "LEAST", 2)
    monkeypatch.setattr("adamx.engine.cpu.threads.count", lambda: 2)
    for faster in ("stacked", "processes"):
        model, tried = mine(), []

        def way(name, faster=faster, tried=tried):
            def compute(model, chunk):
                tried.append((name, chunk.steps))
                if name != faster:
                    time.sleep(0.3)
                return of_model.stack(model, chunk)

            return compute

        monkeypatch.setattr(of_model, "WAYS", {name: way(name) for name in of_model.WAYS})
        for _ in range(2):
            adamx.simulate("adam", model, {"lr": [0.1] * 4}, steps=40)
        assert set(model.ways.values()) == {faster}
        assert [name for name, steps in tried if steps == 40] == [faster] * 2  # the second chunk is not measured


def test_a_process_that_is_killed_is_a_line(mine):
    model = mine("os.getpid() == HERE or os._exit(9)".replace("HERE", str(os.getpid())))
    with pytest.raises(InputError, match="a process of mine ended suddenly: take engine=stacked"):
        adamx.simulate("adam", model, {"lr": [0.1] * 4}, steps=4, engine="processes")


def test_who_stops_listening_stops_the_processes(mine):
    def stop(updates):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.stream("adam", mine(), {"lr": [0.1] * 8}, 4, tick=stop, engine="processes"))
    assert len(adamx.simulate("adam", mine(), {"lr": [0.1] * 8}, 4, engine="processes")) == 8


def test_an_engine_that_is_none_is_said(mine):
    with pytest.raises(InputError, match="unknown engine 'stack': did you mean 'stacked'"):
        adamx.simulate("adam", mine(), {"lr": 0.1}, 4, engine="stack")
    with pytest.raises(InputError, match="engine=processes is of models of torch and jax; beale is none"):
        adamx.simulate("adam", "beale", {"lr": 0.1}, 4, engine="processes")


def test_functions_of_a_script_go_to_processes(tmp_path):
    pytest.importorskip("torch")
    script = tmp_path / "script.py"  # with no `if __name__ == "__main__"`
    script.write_text(
        MINE.replace("ONCE", "pass")
        + "found = [adamx.simulate('adam', model, {'lr': [0.1, 0.2, 0.3, 0.4]}, 5, engine=e) "
        "for e in ('stacked', 'processes')]\nprint(np.array_equal(found[0].loss, found[1].loss))\n"
    )
    made = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert made.stdout == "True\n", made.stderr


def of_rows(made, data, **options):
    """The model of `made` on other data."""
    return dataclasses.replace(made(), data=data, **options)


@pytest.mark.parametrize("made", [in_torch, in_jax])
def test_batches_of_a_function_are_those_of_rows(made, monkeypatch):
    rows, grid = made(), {"lr": [0.01, 0.02, 0.01], "seed": [0, 0, 3]}

    def batch(seed, step):
        where = rng.below(len(TASK.x), np.int64(seed), rng.ROWS, np.int64(step), np.arange(32))
        return TASK.x[where], TASK.y[where].astype(int)

    stream = of_rows(made, batch, batch=None, held=rows.data)
    assert stream.criteria == rows.criteria
    for each in ([0, 0, 0], [0, 0, 3]):
        expected = adamx.simulate("adam", rows, {**grid, "seed": each}, 12, 5, instruments=["grad_norm"])
        monkeypatch.setattr(of_model, "DRAWN", 3e5)  # several segments between two records
        found = adamx.simulate("adam", stream, {**grid, "seed": each}, 12, 5, instruments=["grad_norm"])
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
        np.testing.assert_allclose(found.curves["grad_norm"], expected.curves["grad_norm"], rtol=1e-10)
        for key in found.figures:
            np.testing.assert_allclose(found.figures[key], expected.figures[key], rtol=1e-10)


def test_a_dataset_is_its_rows(mine):
    torch = pytest.importorskip("torch")

    class Digits(torch.utils.data.Dataset):
        def __len__(self):
            return len(TASK.x)

        def __getitem__(self, row):
            return TASK.x[row], int(TASK.y[row])

    own = of_rows(in_torch, Digits())
    tensors = torch.utils.data.TensorDataset(*own.data)
    for model in (own, of_rows(in_torch, tensors)):
        found, expected = (adamx.simulate("adam", each, {"lr": [0.01]}, 5) for each in (model, in_torch()))
        assert np.array_equal(found.loss, expected.loss)

    x, y = map(torch.as_tensor, mine().data)
    of_file = [of_rows(mine, data).digest for data in ((x, y), torch.utils.data.TensorDataset(x, y), (x, y + 1))]
    assert of_file[0] == of_file[1] != of_file[2]

    class Ragged(Digits):
        def __getitem__(self, row):
            return np.zeros(row + 1)

    with pytest.raises(InputError, match="data is a Ragged that is not read as rows of one shape") as error:
        of_rows(in_torch, Ragged())
    assert len(str(error.value).splitlines()) == 1


def test_data_of_a_function_needs_rows_that_are_held():
    def batch(seed, step):
        return np.zeros((2 + step % 2, 64)), np.zeros(2 + step % 2, int)

    with pytest.raises(InputError, match=r"held=\(x, y\) gives the rows of the recorded loss"):
        of_rows(in_torch, batch, batch=None)
    with pytest.raises(InputError, match="batch is None"):
        of_rows(in_torch, batch, held=in_torch().data)
    with pytest.raises(InputError, match="held is of data that is a function"):
        of_rows(in_torch, in_torch().data, held=in_torch().data)
    with pytest.raises(InputError, match="the arrays of held have"):
        of_rows(in_torch, batch, batch=None, held=(TASK.x, TASK.y[1:]))
    with pytest.raises(InputError, match=r"a batch of data\(seed, step\) is ndarray: a tuple of arrays is needed"):
        of_rows(in_torch, lambda seed, step: TASK.x, batch=None, held=in_torch().data).criteria
    with pytest.raises(InputError, match=r"data\(0, 1\) has shapes .*3, 64.*the same at every step are needed"):
        adamx.simulate("adam", of_rows(in_torch, batch, batch=None, held=in_torch().data), {"lr": 0.1}, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", optimizers())
def test_every_rule_keeps_the_type_of_a_training_in_jax(name, dtype):
    jax = pytest.importorskip("jax")
    model = Model(lambda p, batch: ((batch[0] @ p) ** 2).mean(), lambda _: jax.numpy.ones(3), (np.eye(3),))
    chunk = next(engine.chunks(name, model, {"lr": [0.1, 0.2], "lr_warmup": 2}, 9, dtype=dtype, schedule="cosine"))
    training = of_model._training(model, chunk)
    with training.frame.exact():
        given = of_model.given_of(training, chunk, np.zeros(2, int))
        carry = training.start((jax.numpy.ones((2, 3), dtype),), given)
        rows = (jax.numpy.arange(3)[None],)
        after = jax.eval_shape(training._step, given, carry, jax.numpy.asarray(1), rows)
    types = [[leaf.dtype for leaf in jax.tree.leaves(each)] for each in (carry, after)]
    assert types[0] == types[1] and set(map(str, types[0])) == {dtype}


def test_frozen_parameters_are_neither_drawn_nor_trained():
    torch = pytest.importorskip("torch")
    frozen, head = torch.nn.Linear(64, 8).double(), torch.nn.Linear(8, 10).double()
    frozen.requires_grad_(False)
    net, data = torch.nn.Sequential(frozen, head), (TASK.x, TASK.y.astype(int))
    kept = Model.of(net, torch.nn.functional.cross_entropy, data)
    found = adamx.simulate("adam", kept, {"lr": [0.01]}, 5)
    assert found.x.shape == (1, 90) and found.loss[-1] < found.loss[0]
    outputs = torch.func.functional_call(net, kept.init(0), (torch.as_tensor(data[0]),))  # the frozen layer as it is
    loss = torch.nn.functional.cross_entropy(outputs, torch.as_tensor(data[1])).item()
    np.testing.assert_allclose(found.loss[0, 0], loss, rtol=1e-12)
    assert sorted(kept.init(0)) == ["1.bias", "1.weight"]
    head.requires_grad_(False)
    with pytest.raises(InputError, match="no parameter that is trained"):
        Model.of(net, torch.nn.functional.cross_entropy, data)
