"""The kernels against plain Python, and a run's independence of threads, chunks and neighbours."""

import math
import platform
import re

import naive
import numba
import numpy as np
import pytest
from runs import assert_same

import adamx
from adamx.engine import arrays
from adamx.engine import simulate as engine
from adamx.engine.cpu import backend, landscape, task, threads
from adamx.inputs.errors import InputError
from adamx.optimizers import optimizers
from adamx.problems import problem
from adamx.schedules import SCHEDULES, Schedule

STEPS = 40
LR = np.geomspace(1e-4, 50, 9)  # the largest diverge


def columns_of(results, run):
    return {k: float(v[run]) for k, v in results.columns.items() if k != "seed"}


@pytest.mark.parametrize("name", optimizers())
def test_lanes_equal_plain_python_to_the_bit(name):
    p = problem("rosenbrock", {"noise": 1e-3})
    results = adamx.simulate(name, p, {"lr": LR}, STEPS, seed=np.arange(len(LR)))
    for run, seed in enumerate(results.columns["seed"]):
        with np.errstate(all="ignore"):
            try:
                losses, x, figures = naive.landscape(name, p, columns_of(results, run), STEPS, int(seed))
            except OverflowError:  # plain Python raises where the kernel goes on with inf
                assert results.figures["diverged_step"][run] >= 0
                continue
        np.testing.assert_array_equal(results.loss[:, run], losses)
        np.testing.assert_array_equal(results.x[run], x)
        for key, value in figures.items():
            np.testing.assert_array_equal(results.figures[key][run], value, err_msg=key)


def test_a_swapped_column_is_seen_in_the_kernel(monkeypatch):
    test_lanes_equal_plain_python_to_the_bit("adam")
    constants = arrays.constants
    swapped = lambda chunk: (h := constants(chunk))._replace(beta1=h.beta2, beta2=h.beta1)
    monkeypatch.setattr(arrays, "constants", swapped)
    with pytest.raises(AssertionError):
        test_lanes_equal_plain_python_to_the_bit("adam")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("quadratic", {"curvature": [1, 10, 100], "x0": [1, -2, 0.5]}), ("power", {}), ("beale", {}), ("saddle", {}),
        ("long_valley", {}), ("himmelblau", {}), ("rastrigin", {"x0": [0.3, 1.7, -2.2]}), ("styblinski_tang", {}),
    ],
)  # fmt: skip
def test_every_landscape_runs_in_lanes(name, args):
    p = problem(name, args)
    results = adamx.simulate("sgd", p, {"lr": [1e-3, 1e-2]}, STEPS)
    for run in range(2):
        losses, x, _ = naive.landscape("sgd", p, columns_of(results, run), STEPS)
        np.testing.assert_allclose(results.loss[:, run], losses, rtol=1e-12)  # libm's pow and sin may differ in an ulp
        np.testing.assert_allclose(results.x[run], x, rtol=1e-12)


@pytest.mark.parametrize("name", ["adam", "lamb"])
@pytest.mark.parametrize(
    ("problem_name", "args"),
    [
        ("digits_mlp", {"hidden": [5, 4], "batch": 16}), ("cancer_logistic", {"batch": 0}),
        ("digits_mlp", {"hidden": [5, 4], "batch": 16, "activation": "gelu", "norm": "layer"}),
        ("moons_logistic", {"hidden": [5], "batch": 16, "activation": "tanh"}),
        ("moons_logistic", {"hidden": [5, 3], "activation": "gelu"}),
        ("moons_logistic", {"hidden": [5, 3], "norm": "layer"}),
        ("moons_logistic", {"hidden": [5, 3], "activation": "tanh", "norm": "layer"}),
    ],
)  # fmt: skip
def test_training_equals_matrix_algebra(name, problem_name, args):
    p = problem(problem_name, args)
    results = adamx.simulate(name, p, {"lr": [1e-3, 1e-1]}, 12, seed=3)
    for run in range(2):
        losses, x = naive.task(name, p, columns_of(results, run), 12, seed=3)
        np.testing.assert_allclose(results.x[run], x, rtol=1e-9, atol=1e-12)
        if not p.batch:
            np.testing.assert_allclose(results.loss[:, run], losses, rtol=1e-9)
            best = results.loss[:, run].min()  # both are means over the rows, which round in another order
            assert results.figures["best"][run] == pytest.approx(best, rel=1e-15)


def test_least_squares_reaches_the_normal_equations():
    p = problem("diabetes_squares")
    results = adamx.simulate("adam", p, {"lr": 0.05}, 3000, record_every=1000)
    design = np.column_stack([p.x, np.ones(len(p.x))])
    best, *_ = np.linalg.lstsq(design, p.y, rcond=None)
    assert results.loss[-1, 0] == pytest.approx(0.5 * np.mean((design @ best - p.y) ** 2), rel=1e-6)
    assert set(results.curves) == {"val_loss"}


def test_what_is_recorded():
    results = adamx.simulate("adam", "digits_softmax", {"lr": [0.01, 0.1]}, 25, record_every=10)
    assert results.steps.tolist() == [0, 10, 20, 25]
    assert results.loss.shape == (4, 2)
    assert {k: v.shape for k, v in results.curves.items()} == dict.fromkeys(
        ("val_loss", "accuracy", "val_accuracy"), (4, 2)
    )
    assert results.loss[0, 0] == pytest.approx(math.log(10))
    z = problem("digits_softmax").val_x @ results.x[0][:640].reshape(64, 10) + results.x[0][640:]
    assert results.curves["val_accuracy"][-1, 0] == pytest.approx(
        (z.argmax(1) == problem("digits_softmax").val_y).mean()
    )
    table = results.table
    assert list(table["final_loss"]) == list(results.loss[-1])
    assert {"lr", "beta1", "seed", "best_loss", "best_step", "spikes", "first_spike_step", "largest_spike",
            "reached_step", "popped", "diverged_step", "regime"} <= set(table)  # fmt: skip
    exact = adamx.simulate("adam", "rosenbrock", {"lr": 0.01}, 30, record_every=30)
    assert exact.steps.tolist() == [0, 30]


@pytest.mark.parametrize(("name", "runs"), [("rosenbrock", 150), ("digits_softmax", 20)])
def test_bits_do_not_depend_on_threads_chunks_or_neighbours(name, runs, monkeypatch):
    hyper = {"lr": np.geomspace(1e-4, 1e3, runs), "eps": np.geomspace(1e-12, 1, runs)[::-1]}
    arguments = dict(problem=problem(name), steps=30, record_every=7, seed=np.arange(runs) % 3)
    together = adamx.simulate("adam", hyper=hyper, **arguments)
    assert_same(together, adamx.simulate("adam", hyper=hyper, **arguments))

    monkeypatch.setattr(threads, "count", lambda: 1)
    alone = adamx.simulate("adam", hyper=hyper, **arguments)
    monkeypatch.setattr(threads, "count", lambda: 5)
    assert_same(together, adamx.simulate("adam", hyper=hyper, **arguments))
    assert_same(together, alone)

    monkeypatch.setattr(backend, "chunk_runs", lambda *_: 37 if name == "rosenbrock" else 3)
    monkeypatch.setattr(backend, "LAUNCH_SECONDS", 1e-9)  # a launch a step
    ticks = []
    options = {"record_every": 7, "seed": arguments["seed"], "tick": ticks.append}
    parts = list(engine.stream("adam", problem(name), hyper, 30, **options))
    assert len(parts) > 3
    assert len(ticks) == 31 * len(parts)
    assert_same(together, adamx.engine.results.concatenate(parts))
    monkeypatch.undo()

    order = np.random.default_rng(0).permutation(runs)[: runs // 2]
    moved = adamx.simulate(
        "adam", hyper={k: v[order] for k, v in hyper.items()}, **{**arguments, "seed": arguments["seed"][order]}
    )
    assert_same(together.take(order), moved)


def test_a_diverging_neighbour_changes_nothing():
    lone = adamx.simulate("sgd", "rosenbrock", {"lr": 1e-3}, 50)
    beside = adamx.simulate("sgd", "rosenbrock", {"lr": [1e3, 1e-3, 1e3]}, 50)
    assert_same(lone, beside.take(np.array([1])))
    assert beside.regime.tolist() == ["diverged", lone.regime[0], "diverged"]
    assert beside.table["diverged_step"].isna().tolist() == [False, True, False]


def test_settings_share_noise_and_minibatches():
    p = problem("quadratic", {"curvature": 1.0, "noise": 1.0})
    same = adamx.simulate("sgd", p, {"lr": [0.1, 0.1, 0.1]}, 20, seed=[5, 5, 6])
    np.testing.assert_array_equal(same.loss[:, 0], same.loss[:, 1])
    assert (same.loss[1:, 0] != same.loss[1:, 2]).all()
    table = adamx.simulate("sgd", p, adamx.grid(lr=[0.1, 0.2], seed=[1, 2]), 5).table
    assert table["seed"].tolist() == [1, 2, 1, 2]


def test_x0():
    results = adamx.simulate("sgd", "rosenbrock", {"lr": 1e-3}, 1, x0=[1.0, 1.0])
    assert results.loss.ravel().tolist() == [0.0, 0.0]
    p = problem("digits_softmax")
    results = adamx.simulate("sgd", p, {"lr": 1e-3}, 0 + 1, x0=np.ones(p.dim))
    assert results.loss[0, 0] == pytest.approx(math.log(10))


@pytest.mark.parametrize(
    ("module", "optimizer", "name", "args"),
    [
        (landscape, "adam", "rosenbrock", {}),
        (landscape, "adopt", "rosenbrock", {}),
        (landscape, "adam", "rosenbrock", {"noise": 1e-3}),
        (task, "adam", "digits_mlp", {}),
        (task, "adam", "digits_mlp", {"activation": "gelu", "norm": "layer"}),
        (task, "adam", "digits_mlp", {"activation": "tanh"}),
    ],
)
def test_float32_is_float32_all_the_way(module, optimizer, name, args, monkeypatch):
    """A float32 kernel has no arithmetic on doubles and no numbers that become one, but for the sizes of matrices that
    Numba's reshape compares; its machine code has packed square roots: none where a lane's step is called, not inlined.
    """
    p = problem(name, args)
    kernel_for = module.kernel_for
    fresh = []

    def uncached(*key):  # code from the cache cannot be inspected
        layout, kernel = kernel_for(*key)
        fresh.append(numba.njit(nogil=True, error_model="numpy")(kernel.py_func))
        return layout, fresh[0]

    monkeypatch.setattr(module, "kernel_for", uncached)
    results = adamx.simulate(optimizer, p, {"lr": [1e-3] * 3}, 2, dtype="float32")
    assert results.loss.dtype == results.x.dtype == np.float32
    code, assembly = ("\n".join(texts.values()) for texts in (fresh[0].inspect_llvm(), fresh[0].inspect_asm()))
    operations = "fadd|fsub|fmul|fdiv|frem|fneg|fpext" + "|sitofp|uitofp" * (module is landscape)
    doubles = re.findall(rf"= (?:{operations})\b.*double.*|@llvm\.\w+\.(?:v\d+)?f64", code)
    assert not doubles, doubles[:9]
    if platform.machine() == "x86_64":
        assert re.search(r"\bv?sqrtps\b", assembly)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_scale_lr(schedule):
    hyper = {"lr": [0.01, 0.02], "lr_warmup": [0.0, 7.0], "lr_end": [0.25, 0.0]}
    p = problem("rosenbrock")
    results = adamx.simulate("adam", p, hyper, 30, schedule=schedule)
    for run in range(2):
        own = columns_of(results, run)
        chosen = (schedule, Schedule(own.pop("lr_warmup"), own.pop("lr_end")))
        losses, x, _ = naive.landscape("adam", p, own, 30, schedule=chosen)
        np.testing.assert_array_equal(results.loss[:, run], losses)
        np.testing.assert_array_equal(results.x[run], x)


def test_schedules_of_tasks():
    p = problem("digits_softmax", {"batch": 16})
    results = adamx.simulate("sgd", p, {"lr": 0.1, "lr_warmup": 4}, 12, schedule="cosine")
    _, x = naive.task("sgd", p, {"lr": 0.1}, 12, schedule=("cosine", Schedule(4.0, 0.0)))
    np.testing.assert_allclose(results.x[0], x, rtol=1e-9, atol=1e-12)
    plain = adamx.simulate("sgd", p, {"lr": 0.1}, 12)
    assert "lr_warmup" not in plain.columns
    assert plain.title.startswith("sgd on") and results.title.startswith("sgd cosine on")


def test_float32_tracks_float64():
    hyper = {"lr": [1e-3, 1e-2]}
    double = adamx.simulate("adam", "rosenbrock", hyper, 100)
    single = adamx.simulate("adam", "rosenbrock", hyper, 100, dtype="float32")
    np.testing.assert_allclose(single.loss, double.loss, rtol=1e-3)


def test_wrong_arguments_are_named():
    for change, words in [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1.5}, "whole number"),
        ({"steps": 2**31}, "2\\^31"),
        ({"record_every": 0}, "record_every is 0"),
        ({"dtype": "float23"}, "did you mean 'float32'"),
        ({"backend": "cdua"}, "unknown backend"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"hyper": {"lr": 0.1, "seed": [1, -3]}}, "seed is -3"),
        ({"seed": [1, 2, 3], "hyper": {"lr": [0.1, 0.2]}}, "3 seeds for 2 runs"),
        ({"optimizer": "adamm"}, "did you mean"),
        ({"problem": "beal"}, "did you mean 'beale'"),
    ]:
        arguments = {"optimizer": "adam", "problem": "beale", "hyper": {"lr": 0.1}, "steps": 5, **change}
        with pytest.raises(InputError, match=words):
            adamx.simulate(**arguments)
