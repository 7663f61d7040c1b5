"""Rules as transformations of optax: against plain Python and optax, and what optax asks of its contributed ones."""

from __future__ import annotations

import re

import naive
import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
import jax.numpy as jnp  # noqa: E402

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402
from adamx.optax import factory, transformation  # noqa: E402
from adamx.optimizers import optimizers, rule  # noqa: E402


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def tree(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return {"w": jnp.asarray(rng.normal(size=(3, 2)), dtype), "b": (jnp.asarray(rng.normal(size=4), dtype),)}


def run(optimizer, params, steps=6, first=1):
    state = optimizer.init(params)
    step = jax.jit(optimizer.update)
    for t in range(first, first + steps):
        updates, state = step(tree(t), state, params)
        params = optax.apply_updates(params, updates)
    return params


def close(a, b, rtol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol), a, b)


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_agrees_with_plain_python(name):
    r = rule(name)
    h = r.Hyper(**r.defaults)
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(tree(0))]
    clock, states = r.initial_clock(h), [[r.initial_state(h)] * leaf.size for leaf in leaves]
    for t in range(1, 7):
        clock, now = r.per_step(float(t), clock, h)
        for i, g in enumerate(jax.tree.leaves(tree(t))):
            moved = naive.updates(r, leaves[i].ravel().tolist(), np.ravel(g).tolist(), states[i], h, now)
            leaves[i], states[i] = np.reshape([m[0] for m in moved], g.shape), [m[1] for m in moved]
    close(jax.tree.leaves(run(transformation(name), tree(0))), leaves)


@pytest.mark.parametrize(
    ("name", "peer", "theirs", "ours"),
    [
        ("adam", optax.adam, {"eps_root": 1e-4}, {"eps_root": 1e-4}),
        ("adagrad", optax.adagrad, {"eps": 1e-5, "initial_accumulator_value": 0.1},
         {"eps": 0.0, "eps_root": 1e-5, "initial_accumulator_value": 0.1}),
        ("adabelief", optax.adabelief, {}, {}),
        ("adadelta", optax.adadelta, {"rho": 0.8, "eps": 1e-3}, {"beta2": 0.8, "eps": 1e-3}),
        ("adamax", optax.adamax, {}, {}),
        ("lamb", optax.lamb, {"weight_decay": 0.1}, {"weight_decay": 0.1}),
        ("lion", optax.lion, {"weight_decay": 0.1}, {"weight_decay": 0.1}),
        ("radam", optax.radam, {}, {}),
        ("adopt", optax.contrib.adopt, {}, {}),
        ("ademamix", optax.contrib.ademamix, {}, {}),
    ],
)  # fmt: skip
def test_rules_equal_optax(name, peer, theirs, ours):
    schedule = optax.linear_schedule(0.02, 0.001, 5)
    close(run(transformation(name, schedule, **ours), tree(0)), run(peer(schedule, **theirs), tree(0)), 1e-10)


@pytest.mark.parametrize("name", ["adam", "lamb", "ademamix", "rprop"])
def test_hyperparameters_are_injected(name):
    start = tree(0)
    injected = optax.inject_hyperparams(factory(name))(learning_rate=0.01)
    state = injected.init(start)
    given = state.hyperparams
    assert {"learning_rate", *rule(name).defaults} - {"lr", "bias_correction"} <= set(given)
    given["learning_rate"] = jnp.asarray(0.02)
    plain = transformation(name, 0.02)
    close(jax.jit(injected.update)(tree(1), state, start)[0], plain.update(tree(1), plain.init(start), start)[0])


def test_the_learning_rate_is_injected_without_a_factory():
    injected = optax.inject_hyperparams(transformation, static_args="optimizer")("adam", learning_rate=0.01)
    state = injected.init(tree(0))
    close(injected.update(tree(1), state, tree(0))[0], jax.tree.map(lambda g: -0.01 * jnp.sign(g), tree(1)), 1e-5)


def test_vmap_is_a_loop_over_settings():
    rates = jnp.asarray([1e-3, 1e-2, 1e-1])

    def after(rate):
        return run_twice(transformation("adam", rate))

    def run_twice(optimizer):
        params, state = tree(0), optimizer.init(tree(0))
        for t in (1, 2):
            updates, state = optimizer.update(tree(t), state, params)
            params = optax.apply_updates(params, updates)
        return params

    stacked = jax.vmap(after)(rates)
    for i, rate in enumerate(rates):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], stacked), after(float(rate)))


def test_it_stands_in_a_chain_and_in_a_scan():
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), transformation("adopt", learning_rate=0.1))

    def step(carry, _):
        params, state = carry
        loss, g = jax.value_and_grad(lambda p: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)))(params)
        updates, state = optimizer.update(g, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), loss

    _, losses = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=200))(tree(0))
    assert losses[-1] < 0.01 * losses[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_states_are_as_precise_as_they_must_be(dtype):
    params, optimizer = tree(0, dtype), transformation("amsgrad")
    state = optimizer.init(params)
    updates, new = optimizer.update(tree(1, dtype), state, params)
    kinds = lambda t: {leaf.dtype.name for leaf in jax.tree.leaves(t)}
    assert kinds(updates) == {dtype} and kinds(new.fields) == {"float32"}
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, new)
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, new)


def test_a_users_rule(tmp_path):
    path = tmp_path / "halving.py"
    path.write_text(
        "from typing import NamedTuple\nfrom adamx.portable import portable\n"
        "class Hyper(NamedTuple):\n    lr: float = 0.5\n"
        "@portable\ndef update(x, g, state, h, now):\n    return x - h.lr * g if g > 0 else x, state\n"
    )
    moved, _ = (o := transformation(str(path))).update(jnp.asarray([1.0, -1.0]), o.init(jnp.ones(2)), jnp.ones(2))
    assert moved.tolist() == [-0.5, 0.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("adamm", {}), "did you mean 'adam'"),
        (("adam", {"b1": 0.9}), "unknown hyperparameter of adam 'b1'"),
        (("adam", {"lr": 0.1}), "learning_rate"),
        (("adam", {"learning_rate": -0.1}), "lr > 0 is needed"),
    ],
)
def test_what_is_typed_wrong_is_said(arguments, said):
    with pytest.raises(InputError, match=re.escape(said)):
        transformation(arguments[0], **arguments[1])


def test_params_are_needed_and_real():
    optimizer = adamx.optax.transformation("adam")
    with pytest.raises(InputError, match="needs the parameters"):
        optimizer.update(tree(1), optimizer.init(tree(0)))
    with pytest.raises(InputError, match="complex"):
        optimizer.init(jnp.zeros(2, "complex64"))
