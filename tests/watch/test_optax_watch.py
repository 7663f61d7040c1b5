"""The watch on optax: the figures of torch's watch, updates that stay as they are, and jit, scan, vmap around it."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402
from adamx.watch.tape import MEASURES  # noqa: E402

STEPS, BATCH = 60, 32
RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 6))
Y = np.sin(X @ RNG.normal(size=(6, 1)))
START = [RNG.normal(size=(6, 32)) / 2, np.zeros(32), RNG.normal(size=(32, 1)) / 5, np.zeros(1)]
BATCHES = RNG.integers(0, len(X), (STEPS, BATCH))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def loss_of(p, rows):
    hidden = jax.nn.relu(jnp.asarray(X)[rows] @ p[0] + p[1])
    return jnp.mean((hidden @ p[2] + p[3] - jnp.asarray(Y)[rows]) ** 2)


def start():
    return [jnp.asarray(w) for w in START]


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile


def scanned(optimizer, figures=True, compiler=QUICK):
    """A training in one jit: ((params, state), (losses, updates, figures))."""

    def step(carry, rows):
        params, state = carry
        loss, g = jax.value_and_grad(loss_of)(params, rows)
        updates, state = optimizer.update(g, state, params)
        out = loss, updates, state.figures if figures else None
        return (optax.apply_updates(params, updates), state), out

    run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), jnp.asarray(BATCHES)), compiler_options=compiler)
    return run(start())


gradient = jax.jit(jax.grad(loss_of))


def watched_by_torch(make):
    torch = pytest.importorskip("torch")
    p = [torch.tensor(w, requires_grad=True) for w in START]
    optimizer = make(torch.optim)(p)
    with adamx.watch(optimizer, every=4) as w:
        for rows in BATCHES:
            optimizer.zero_grad()
            hidden = torch.relu(torch.tensor(X[rows]) @ p[0] + p[1])
            loss = ((hidden @ p[2] + p[3] - torch.tensor(Y[rows])) ** 2).mean()
            loss.backward()
            optimizer.step()
            w.loss(loss)
    return w


CASES = {
    "adam": (lambda o: lambda p: o.Adam(p, lr=1e-2, eps=1e-3), "adam", {"learning_rate": 1e-2, "eps": 1e-3}),
    "adamw": (
        lambda o: lambda p: o.AdamW(p, lr=1e-2, weight_decay=0.1, betas=(0.8, 0.95)),
        "adamw",
        {"learning_rate": 1e-2, "weight_decay": 0.1, "b1": 0.8, "b2": 0.95},
    ),
    "rmsprop": (
        lambda o: lambda p: o.RMSprop(p, lr=1e-3, alpha=0.95),
        "rmsprop",
        {"learning_rate": 1e-3, "decay": 0.95, "eps_in_sqrt": False},
    ),
    "sgd": (lambda o: lambda p: o.SGD(p, lr=1e-2, momentum=0.9), "sgd", {"learning_rate": 1e-2, "momentum": 0.9}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_figures_are_those_of_torchs_watch(name, x64):
    make, kind, options = CASES[name]
    optimizer = adamx.optax.watch(getattr(optax, kind), every=4, **options)
    _, (losses, _, figures) = scanned(optimizer)
    optimizer.see(figures, losses)
    w, seen = watched_by_torch(make).tape, optimizer.tape
    assert seen.rows == w.rows and list(seen.loss_step) == list(w.loss_step) and seen.last == STEPS
    assert list(seen.loss) == pytest.approx(list(w.loss), rel=1e-9)
    assert list(seen.norm) == pytest.approx(list(w.norm), rel=1e-9)
    assert list(seen.lr[0]) == pytest.approx(list(w.lr[0]), rel=1e-12)
    for measure in MEASURES:
        assert seen.whole[measure] == pytest.approx(w.whole[measure], rel=1e-9), measure
    for fact in ("eps", "beta2", "weight_decay", "adaptive", "corrected", "coordinates", "tensors", "dtype"):
        assert seen.groups[0].get(fact) == w.groups[0].get(fact), fact
    assert not seen.notes and optimizer.regime


def clipped():
    return optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2))


MADE = {
    "adam": lambda: optax.adam(1e-2),
    "clipped": clipped,
    "lion": lambda: optax.lion(1e-3),
    "adagrad": lambda: optax.adagrad(1e-2),
    "amsgrad": lambda: optax.amsgrad(1e-2),
    "centered": lambda: optax.rmsprop(1e-3, centered=True, momentum=0.9),
    "injected": lambda: optax.inject_hyperparams(optax.adamw)(optax.linear_schedule(1e-2, 0.0, STEPS)),
    "multi": lambda: optax.MultiSteps(optax.adam(1e-2), 3).gradient_transformation(),
    "ours": lambda: adamx.optax.transformation("adopt", learning_rate=1e-3),
    "masked": lambda: optax.masked(optax.adam(1e-2), [True, False, True, True]),
    "partition": lambda: optax.partition({"a": optax.adam(1e-2), "b": optax.sgd(1e-2)}, ["a", "b", "a", "a"]),
}


@pytest.mark.parametrize(("name", "jitted"), [*((name, True) for name in MADE), ("lion", False)])
def test_updates_are_the_same_to_the_bit(name, jitted):
    bare, optimizer = MADE[name](), adamx.optax.watch(MADE[name](), every=2, learning_rate=1e-2)
    options = None if name in ("adam", "clipped") else QUICK  # fusion, which could change bits, is the same in both
    wrap = partial(jax.jit, compiler_options=options) if jitted else lambda f: f
    update, peer = wrap(optimizer.update), wrap(bare.update)
    params = start()
    state, alone = optimizer.init(params), bare.init(params)
    for rows in BATCHES[: 7 if jitted else 2]:
        g = gradient(params, rows)
        updates, state = update(g, state, params)
        same, alone = peer(g, alone, params)
        for a, b in zip(jax.tree.leaves((updates, state.inner_state)), jax.tree.leaves((same, alone)), strict=True):
            assert np.array_equal(a, b)
        params = optax.apply_updates(params, updates)
        optimizer.see(state, 1.0)
    size = float(optax.tree.norm(g))
    assert optimizer.tape.norm[-1] == pytest.approx(size, rel=1e-5)
    assert optimizer.tape.steps == (7 if jitted else 2) and all(np.isfinite(optimizer.tape.whole["weight_rms"]))
    assert optimizer.verdict.cause in ("unknown", "no_warmup")


def test_in_one_jit_with_the_loss_only_the_fusion_of_the_gradients_may_change():
    """XLA computes gradients anew within the update if nothing else reads them: then the last bits are others."""
    options = {"learning_rate": 1e-2, "weight_decay": 0.1}
    bare = optax.adamw(**options)
    fenced = optax.GradientTransformation(
        bare.init, lambda g, s, p=None: bare.update(jax.lax.optimization_barrier(g), s, p)
    )
    (params, _), _ = scanned(adamx.optax.watch(fenced, **options), compiler=None)
    (alone, _), _ = scanned(fenced, figures=False, compiler=None)
    assert all(map(np.array_equal, params, alone))


def test_settings_are_watched_side_by_side_under_vmap():
    rates = jnp.asarray([1e-3, 1e-2, 3.0])
    optimizer = adamx.optax.watch(optax.inject_hyperparams(optax.adam)(1e-3), b2=0.999, eps=1e-8, every=5)

    def train(rate):
        def step(carry, rows):
            params, state = carry
            loss, g = jax.value_and_grad(loss_of)(params, rows)
            updates, state = optimizer.update(g, state, params)
            return (optax.apply_updates(params, updates), state), (loss, state.figures)

        state = optax.tree.set(optimizer.init(start()), learning_rate=rate)
        return jax.lax.scan(step, (start(), state), jnp.asarray(BATCHES))[1]

    compiled = partial(jax.jit, compiler_options=QUICK)
    losses, figures = compiled(jax.vmap(train))(rates)
    one = compiled(train)
    lanes = optimizer.lanes(figures, losses)
    for rate, lane, values in zip(rates, lanes, losses, strict=True):
        alone = adamx.optax.watch(optax.adam, learning_rate=float(rate), every=5)
        alone.see(one(rate)[1])
        assert lane.tape.series("lr")[1] == pytest.approx(float(rate))
        assert lane.tape.whole["step_rms"][0] == pytest.approx(alone.tape.whole["step_rms"][0], rel=1e-4)
        assert list(lane.tape.loss) == pytest.approx(np.asarray(values).tolist()) and lane.tape.rows == alone.tape.rows
    assert [lane.verdict.cause for lane in lanes][2] != "healthy" and lanes[0].verdict.cause == "healthy"
    with pytest.raises(InputError, match="figures of several trainings"):
        optimizer.see(figures, losses)
    with pytest.raises(InputError, match=re.escape("losses have the shape (3,), the figures (3, 60)")):
        optimizer.lanes(figures, losses[:, 0])


def test_clipping_within_is_seen_in_the_lag_and_not_in_the_norm(x64):
    inside = adamx.optax.watch(clipped(), learning_rate=1e-2, b2=0.999, eps=1e-8, every=1)
    outside = adamx.optax.watch(optax.adamw, learning_rate=1e-2, every=1)
    chained = optax.chain(optax.clip_by_global_norm(0.1), outside)
    params = start()
    state, peer = inside.init(params), chained.init(params)
    update, other = (jax.jit(o.update, compiler_options=QUICK) for o in (inside, chained))
    for rows in BATCHES[:10]:
        g = gradient(params, rows)
        updates, state = update(g, state, params)
        _, peer = other(g, peer, params)
        inside.see(state)
        outside.see(peer)
        params = optax.apply_updates(params, updates)
    assert inside.tape.whole["lag"] == pytest.approx(outside.tape.whole["lag"], rel=1e-6)
    assert min(inside.tape.norm) > 0.2 and max(outside.tape.norm) < 0.11
    assert inside.tape.whole["step_rms"] == pytest.approx(outside.tape.whole["step_rms"], rel=1e-9)


def test_what_is_not_named_is_left_out_and_said():
    optimizer = adamx.optax.watch(optax.adam(1e-2))
    _, (losses, _, figures) = scanned(optimizer)
    optimizer.see(figures, losses)
    (note,) = optimizer.tape.notes
    assert note.startswith("Not known of this optimizer: learning_rate, b2, eps; what needs it is left out.")
    row = {name: values[-1] for name, values in optimizer.tape.whole.items()}
    gone = {"step_rms", "largest_step", "decay", "below_eps", "lag", "root_rms"} | {n for n in row if "effective" in n}
    assert {name for name, value in row.items() if math.isnan(value)} == gone
    assert note in optimizer.verdict.sentences


def test_a_schedule_is_followed_and_injected_hyperparameters_are_read():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 10, STEPS)
    named = adamx.optax.watch(optax.chain(optax.add_noise(0.0, 0.0, 0), optax.adam(schedule)), learning_rate=schedule)
    injected = adamx.optax.watch(optax.inject_hyperparams(optax.adamw)(schedule, b2=0.95, weight_decay=0.01))
    for optimizer in (named, injected):
        _, (losses, _, figures) = scanned(optimizer)
        optimizer.see(figures, losses)
        lrs = [float(schedule(t)) for t in range(STEPS)]
        assert optimizer.tape.series("lr")[1] == pytest.approx(lrs, rel=1e-5)
        assert math.isnan(optimizer.tape.whole["step_rms"][0])  # lr is 0
    facts = injected.tape.groups[0]
    assert facts["beta2"] == pytest.approx(0.95) and facts["weight_decay"] == pytest.approx(0.01)


def test_eps_within_the_root_is_compared_as_its_root():
    optimizer = adamx.optax.watch(optax.rmsprop, learning_rate=1e-3, eps=0.25, every=1)
    params = {"w": jnp.ones(10)}
    _, state = optimizer.update({"w": jnp.full(10, 1.0)}, optimizer.init(params), params)
    optimizer.see(state)
    v = 0.1
    assert optimizer.tape.groups[0]["eps"] == pytest.approx(0.5)
    assert optimizer.tape.whole["below_eps"] == [1.0]
    assert optimizer.tape.whole["effective_lr_50"] == pytest.approx([1e-3 / math.sqrt(v + 0.25)])
    assert optimizer.tape.whole["step_rms"] == pytest.approx([1 / math.sqrt(v + 0.25)])


def test_parameters_in_bfloat16_lose_updates():
    params = {"w": jnp.ones((64,), jnp.bfloat16), "step": jnp.ones((), jnp.float32)}
    optimizer = adamx.optax.watch(optax.adamw, learning_rate=1e-4, every=1)
    g = jax.tree.map(jnp.ones_like, params)
    _, state = jax.jit(optimizer.update, compiler_options=QUICK)(g, optimizer.init(params), params)
    optimizer.see(state)
    assert optimizer.tape.whole["lost_updates"] == pytest.approx([64 / 65])
    assert optimizer.tape.groups[0]["dtype"] == "bfloat16/float32"


def test_what_is_not_finite_and_what_is_dead_shows():
    params = {"a": jnp.ones(20), "b": jnp.ones(20)}
    optimizer = adamx.optax.watch(optax.adam, learning_rate=0.1, every=1)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update, compiler_options=QUICK)
    for i in range(3):
        g = {"a": jnp.ones(20) if i < 2 else jnp.full(20, jnp.nan), "b": jnp.zeros(20)}
        _, state = update(g, state, params)
        optimizer.see(state, 1.0 if i < 2 else math.inf)
    assert optimizer.tape.whole["dead"][0] == 0.5 and optimizer.tape.whole["dead_most"][0] == 1.0
    assert optimizer.tape.whole["nonfinite_grads"] == [0, 0, 0.5]
    assert [e.kind for e in optimizer.tape.events] == ["nonfinite"]


def test_multisteps_has_a_step_for_several_minibatches():
    inner = adamx.optax.watch(optax.adam, learning_rate=1e-2)
    optimizer, params = optax.MultiSteps(inner, 3), start()
    state, update = optimizer.init(params), jax.jit(optimizer.update, compiler_options=QUICK)
    for i, rows in enumerate(BATCHES[:12]):
        _, state = update(gradient(params, rows), state, params)
        if i >= 2:
            inner.see(state, 1.0)
    assert inner.tape.steps == 4 and list(inner.tape.loss_step) == [1, 2, 3, 4]


def test_a_training_goes_on_from_a_checkpoint_and_a_lost_state_is_noticed():
    optimizer, params = adamx.optax.watch(optax.adam, learning_rate=1e-2), start()
    again, lost = (adamx.optax.watch(optax.adam, learning_rate=1e-2, step=step) for step in (0, 8))
    update, g = jax.jit(optimizer.update, compiler_options=QUICK), gradient(params, BATCHES[0])
    state = optimizer.init(params)
    for _ in range(8):
        _, state = update(g, state, params)
    for w, kept in ((again, state), (lost, optimizer.init(params))):
        for _ in range(5):
            _, kept = update(g, kept, params)
            w.see({"params": params, "opt_state": kept}, 1.0)
        assert (w.tape.first, w.tape.last) == (9, 13)
    assert not again.tape.events and [(e.step, e.kind) for e in lost.tape.events] == [(9, "moments_lost")]
    _, anew = update(g, again.init(params), params)
    again.see(anew, 1.0)
    assert [(e.step, e.kind) for e in again.tape.events] == [(14, "moments_lost")]


def test_unusual_steps_are_measured():
    params = {"w": jnp.ones(10)}
    optimizer = adamx.optax.watch(optax.sgd, learning_rate=1e-3, every=50)
    state, update = optimizer.init(params), jax.jit(optimizer.update, compiler_options=QUICK)
    for t in range(1, 31):
        _, state = update({"w": jnp.full(10, 100.0 if t == 20 else 1.0)}, state, params)
        if t % 2 == 0:  # every other step is seen
            optimizer.see(state)
    assert optimizer.tape.rows == [2, 4, 20, 22] and optimizer.tape.steps == 29
    assert optimizer.tape.first == 2 and math.isnan(optimizer.tape.norm[1])


def test_the_report_and_mlflow(opened, tmp_path):
    import mlflow

    mlflow.set_tracking_uri(opened.uri)
    mlflow.set_experiment("test")
    with adamx.optax.watch(optax.adam, learning_rate=1e-2, every=5, mlflow=True) as optimizer:
        _, (losses, _, figures) = scanned(optimizer)
        optimizer.see(figures, losses)
    assert "effective lr" in optimizer.report(tmp_path / "run.html").read_text()
    run = mlflow.get_run(optimizer.recording.run_id)
    history = opened.client.get_metric_history(run.info.run_id, "watch/grad_norm")
    assert [m.step for m in history] == optimizer.tape.rows and run.data.tags["watch.cause"] == "healthy"
    with pytest.raises(InputError, match="closed"):
        optimizer.see(figures, losses)


def test_bad_use_is_one_line():
    with pytest.raises(InputError, match="unknown option of the watch 'beta2'"):
        adamx.optax.watch(optax.adam(1e-3), beta2=0.9)
    with pytest.raises(InputError, match="unknown option of adam 'b3'"):
        adamx.optax.watch(optax.adam, learning_rate=0.1, b3=0.9)
    with pytest.raises(InputError, match="adam: missing a required argument: 'learning_rate'"):
        adamx.optax.watch(optax.adam)
    with pytest.raises(InputError, match="transformation is float: an optax transformation is needed"):
        adamx.optax.watch(1e-3)
    with pytest.raises(InputError, match="every is 0: a whole number >= 1"):
        adamx.optax.watch(optax.adam(1e-3), every=0)
    optimizer, params = adamx.optax.watch(optax.adam, learning_rate=1e-3), {"w": jnp.ones(3)}
    state = optimizer.init(params)
    with pytest.raises(InputError, match=re.escape("the watch needs the parameters: optimizer.update(gradients,")):
        optimizer.update(params, state)
    with pytest.raises(InputError, match=re.escape("no step has been seen: call see(state, loss)")):
        _ = optimizer.verdict
    with pytest.raises(InputError, match="no step was made yet"):
        optimizer.see(state)
    with pytest.raises(InputError, match="state has figures of 0 watches"):
        optimizer.see(optax.adam(1e-3).init(params))
    _, state = optimizer.update(params, state, params)
    with pytest.raises(InputError, match="loss has 3 values, the figures are of 1 steps"):
        optimizer.see(state, jnp.ones(3))
    with pytest.raises(InputError, match="a parameter is complex64"):
        optimizer.init(jnp.zeros(2, "complex64"))
