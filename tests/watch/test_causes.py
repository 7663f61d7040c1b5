"""What tells causes apart that look alike, each on a tape made for it."""

from __future__ import annotations

import numpy as np
import pytest
from tapes import curved, falling, measure, tape_of

from adamx.watch.scene import Scene
from adamx.watch.verdict import judge

RMSPROP = {"optimizer": "RMSprop", "corrected": 0.0, "beta2": 0.999}


def names(tape):
    return [cause.name for cause in judge(tape).causes]


def flat(n=220, level=2.3):
    return level + 0.01 * np.random.default_rng(1).standard_normal(n)


def test_first_updates_far_above_the_later_ones_want_a_warm_up():
    loss = falling()
    loss[1:4] = 350, 12, 3  # above all that follows, from the first update on
    far = measure(tape_of(loss, **RMSPROP), step_rms=lambda t: 30 / t if t < 5 else 0.4)
    found = judge(far)
    assert found.cause == "no_warmup" and "2.31 to 350" in str(found)
    assert "first updates are 30 lr" in found.causes[0].evidence[1]
    warm = measure(tape_of(loss, lr=np.minimum(1, np.arange(1, 301) / 50), **RMSPROP), step_rms=lambda t: 30 / t)
    assert "no_warmup" not in names(warm)
    loss[2:4] = 2.3  # one high loss, and updates as large as the later ones: a batch
    assert "no_warmup" not in names(measure(tape_of(loss), step_rms=lambda t: 0.5))


def test_the_first_loss_is_one_that_no_update_has_touched():
    loss = falling()
    start = Scene(tape_of(loss)).start
    loss[1:5] = 400
    assert Scene(tape_of(loss)).start == loss[0] == pytest.approx(start, rel=0.2)
    assert Scene(tape_of(loss)).early.base == loss[0]


def test_a_decay_that_has_shrunk_the_weights_is_named_even_where_they_are_gone():
    held = measure(
        tape_of(flat(), weight_decay=0.5), decay=lambda t: 8 * 0.96**t, weight_rms=lambda t: max(0.08 * 0.96**t, 1e-4)
    )
    found = judge(held)
    assert found.cause == "weight_decay" and "shrunk from 0.0" in str(found)
    grown = measure(tape_of(flat(), weight_decay=0.01), decay=lambda t: 0.9, weight_rms=lambda t: min(0.08 * t, 2))
    assert "weight_decay" not in names(grown)
    fell = measure(tape_of(falling(), weight_decay=0.5), decay=lambda t: 8.0, weight_rms=lambda t: 0.08 * 0.96**t)
    assert "weight_decay" not in names(fell)


def spiking(v, lag, beta2=0.99):
    """A loss that fits, until gradients grow at step 301 and stay; v before that, and how g^2 lay to it."""
    loss = np.where(np.arange(400) < 100, 0.1 * np.exp(-np.arange(400) / 15), 1e-4)
    loss[300:] = 0.05
    norm = np.where(np.arange(400) < 300, 0.01, 0.2)
    tape = measure(
        tape_of(loss, norm=norm, exact=True, beta2=beta2),
        root_rms=v,
        lag=lambda t: lag if t <= 300 else 5.0,
        step_rms=lambda t: 0.2 if t <= 300 else 0.9,
    )
    return curved(tape, {100: 0.3, 305: 1.2})


def test_v_that_decayed_freely_has_forgotten_and_does_not_lag():
    found = judge(spiking(lambda t: 0.99 ** (t / 2) if t <= 300 else 0.3, 0.2))
    assert found.cause == "v_forgot" and "v_lags" not in [c.name for c in found.causes] and "freely" in str(found)


def test_v_that_follows_its_gradients_has_not_forgotten():
    kept = names(spiking(lambda t: 1.0, 0.9))
    assert kept[0] == "v_lags" and "v_forgot" not in kept
    eps = names(spiking(lambda t: 0.99 ** (t / 2) if t <= 300 else 0.3, 0.9, beta2=0.9))  # slower than 0.9^t
    assert "v_forgot" not in eps and "eps_too_small" in eps


def trouble(norm):
    loss = falling(260)
    loss[200:] = 30
    return tape_of(loss, norm=norm)


def test_an_explosion_climbs_and_neither_jumps_nor_runs_away():
    t = np.arange(1, 261)
    quiet = np.exp(0.1 * np.random.default_rng(0).standard_normal(260))
    climbing = quiet * 1.08 ** np.maximum(t - 160, 0)
    found = judge(trouble(climbing))
    assert found.cause == "exploding_gradient" and "without a jump" in str(found)
    assert "exploding_gradient" not in names(trouble(np.where(t > 200, 40, quiet)))
    away = quiet * 1.03 ** np.clip(t - 160, 0, 40) * 2.0 ** np.clip(t - 200, 0, 8)  # an instability, at last
    assert "exploding_gradient" not in names(trouble(away))
    over = curved(trouble(climbing), {150: 1.7})  # the curvature was over its limit before
    assert "exploding_gradient" not in names(over)


def test_a_bad_batch_is_high_in_loss_and_gradient_at_once_and_alone():
    loss, norm = falling(), np.ones(300)
    loss[200], norm[200] = 30, 50
    assert judge(tape_of(loss, norm=norm)).cause == "bad_batch"
    before = norm.copy()
    before[199] = 9  # the gradient grew first: the step before was too large
    assert "bad_batch" not in names(tape_of(loss, norm=before))
    shifted = norm.copy()
    loss[200:210], shifted[200:203] = 30 * 0.7 ** np.arange(10), 50
    assert "bad_batch" not in names(tape_of(loss, norm=shifted))
    noisy = norm.copy()
    noisy[198:201] = 2.3, 2.3, 150  # as batches are, and nothing beside what comes
    loss[200:210] = 30, *falling()[201:210]
    assert judge(tape_of(loss, norm=noisy)).cause == "bad_batch"


def test_a_plateau_after_a_step_over_the_limit_is_named():
    sgd = {"optimizer": "SGD", "adaptive": 0.0}
    assert judge(curved(tape_of(flat(), 4.0, **sgd), {1: 0.05, 15: 8.6, 100: 0.2})).cause == "edge_of_stability"
    assert judge(curved(tape_of(flat(), 4.0, **sgd), {1: 0.05, 100: 0.2})).cause == "unknown"
    # v of one batch: says nothing
    assert judge(curved(tape_of(flat()), {1: 4000.0, 8: 300.0, 100: 0.2})).cause == "unknown"


def test_weights_that_the_first_updates_throw_out_are_named():
    loss = np.maximum(falling(220), 0.8)
    thrown = measure(tape_of(loss, 0.3), weight_rms=lambda t: min(0.08 * t, 1.3))
    found = judge(thrown)
    assert found.cause == "edge_of_stability" and "16.2 times their size" in str(found)
    fits = measure(tape_of(falling(), 0.3), weight_rms=lambda t: min(0.08 * t, 1.3))
    fits.loss[-60:] = type(fits.loss)("d", [0.05] * 60)
    assert judge(fits).cause == "healthy"
    slow = measure(tape_of(loss, 0.3), weight_rms=lambda t: 0.08 * (1 + t / 100))
    assert judge(slow).cause == "healthy"


def drifting(loss, beside, lr=0.03, **curves):
    """A tape whose updates are a share of the weights, of 0.05."""
    rates = np.broadcast_to(lr, len(loss))
    tape = tape_of(loss, rates, **curves)
    return measure(tape, weight_rms=lambda t: 0.05, step_rms=lambda t: beside * 0.05 / rates[t - 1])


def plateau(level=2.6, n=400):
    """From 4.2 down to a level within 100 steps, and there it stays, with the scatter of minibatches."""
    return (level + (4.2 - level) * np.exp(-np.arange(n) / 25)) * np.exp(0.04 * np.random.default_rng(3).normal(size=n))


def test_updates_that_are_large_beside_the_weights_hold_a_loss_up():
    found = judge(drifting(plateau(), 0.022))
    assert found.cause == "edge_of_stability" and "2.2% of the weights" in str(found)
    assert found.causes[0].change == "lr = 0.003"
    assert "edge_of_stability" not in names(drifting(plateau(), 0.008))  # as healthy ones are
    assert judge(drifting(falling(400, 0.04), 0.022)).cause == "healthy"  # it falls none the less
    slowing = plateau() * np.linspace(1.1, 0.9, 400)
    assert judge(drifting(slowing, 0.022)).cause == "edge_of_stability"
    assert judge(drifting(slowing, 0.008)).cause == "healthy"  # nine tenths of what it was


def test_a_loss_that_stays_where_it_is_may_be_at_its_least():
    found = judge(tape_of(plateau()))
    assert found.cause == "unknown" and not found.causes
    assert found.symptoms == ("the loss has not fallen since step 101 and stays near 2.62",)
    assert "Whether a smaller loss can be reached" in found.notes[0]
    assert judge(tape_of(plateau(), np.where(np.arange(400) < 250, 1e-3, 1e-4))).cause == "healthy"  # lr was lowered
    assert judge(tape_of(plateau(), norm=np.exp(-np.arange(400) / 50))).cause == "healthy"  # the gradient is gone
    assert judge(tape_of(plateau(0.3))).cause == "healthy"  # low enough
    assert judge(tape_of(plateau() * np.linspace(1.02, 0.98, 400))).cause == "healthy"  # it falls by 3 %


def test_a_loss_thrown_up_by_the_first_updates_and_held_there_is_the_lrs_fault():
    loss = plateau(2.9)
    loss[1:15] = 8
    thrown = measure(
        tape_of(loss, 0.1, beta2=0.999, weight_decay=0.1),
        step_rms=lambda t: 1.0 if t == 1 else 0.03,
        weight_rms=lambda t: 0.11 if t == 1 else min(0.43, 0.2 * t),  # 0.046 before the first step
        decay=lambda t: 1.2,
    )
    assert Scene(thrown).untouched == pytest.approx(0.046, rel=0.01)
    assert names(thrown) == ["edge_of_stability", "no_warmup"]  # and the decay only brings the weights back


def test_an_optimizer_that_never_converged_does_not_need_a_larger_eps():
    loss = falling(400)  # to a tenth
    loss[300:] = 3
    tape = measure(tape_of(loss), root_rms=lambda t: 0.98**t, lag=lambda t: 1.0)
    assert names(curved(tape, {290: 1.5})) == ["edge_of_stability"]


def test_a_loss_that_falls_slowly_has_fallen():
    assert Scene(tape_of(flat())).stalled
    assert not Scene(tape_of(flat() - np.linspace(0, 0.08, 220))).stalled


def test_a_bad_batch_that_is_not_survived_is_named():
    loss, norm = falling(), np.ones(300)
    loss[200:], norm[200:] = 1e6 * 10.0 ** np.arange(100), 1e4 * 10.0 ** np.arange(100)
    found = judge(tape_of(loss, norm=norm))
    assert found.cause == "bad_batch" and "t step 201 the loss is 1e+06" in " ".join(found.sentences)
    lr = np.where(np.arange(300) < 199, 1e-3, 1.0)
    assert judge(tape_of(loss, lr, norm=norm)).cause == "lr_jump"
    loss[200:] = 3.0 * 2.0 ** np.arange(100)  # as an instability grows
    assert judge(tape_of(loss, norm=norm)).cause != "bad_batch"


def stopped(end, beside=0.02, falls=1.0):
    """4.5 at first, 2.5 from step 30 on, and another level once lr was lowered at step 300 of 400."""
    draw, t = np.random.default_rng(1), np.arange(400)
    loss = np.where(t < 300, 2.5 * falls ** (t / 300) + 2 * np.exp(-t / 8), end) * np.exp(0.03 * draw.normal(size=400))
    tape = tape_of(loss, lr=np.where(t < 300, 1e-2, 1e-4))
    return measure(tape, step_rms=lambda step: 1.0, weight_rms=lambda step: 1e-2 / beside)


def test_a_loss_that_stops_until_lr_is_lowered_is_judged_by_the_steps_before():
    found = judge(stopped(2.4))
    assert found.cause == "edge_of_stability" and "n update is 2.0% of the weights" in " ".join(found.sentences)
    assert "when lr was lowered at step 301, too" in found.symptoms[0]
    assert judge(stopped(2.4, beside=0.003)).cause == "unknown", "lr is not what is too large"
    assert judge(stopped(1.5)).cause == "healthy", "what a schedule is for"
    assert judge(stopped(1.4, falls=0.6)).cause == "healthy", "it fell all the time"


def test_a_loss_of_all_data_that_goes_up_now_and_then_is_rough():
    draw, t = np.random.default_rng(0), np.arange(300)
    smooth = 2.0 * np.exp(-t / 100)
    shaken = smooth * np.exp(0.03 * draw.normal(size=300))
    assert Scene(tape_of(shaken, exact=True)).rough and not Scene(tape_of(smooth, exact=True)).rough
    assert not Scene(tape_of(shaken)).rough, "batches scatter"


def test_a_gradient_that_is_never_finite_again_is_judged():
    loss, norm = falling(), np.ones(300)
    loss[100:], norm[40:] = np.nan, np.inf
    assert judge(tape_of(loss, norm=norm)).symptoms
