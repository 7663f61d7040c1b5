"""Numerical honesty: faults planted on purpose are seen; and figures, regimes and children by their definitions."""

import dataclasses
import math
from pathlib import Path

import naive
import numba
import numpy as np
import pytest
import test_engine
import test_optimizers
import test_portable
import test_record
import test_regimes
from synthetic import product, synthetic

import adamx
from adamx.engine import arrays
from adamx.optimizers import adam, optimizers, rule
from adamx.record import parent
from adamx.record.children import children, points, select
from adamx.regimes import NO_OBJECTIVE, NO_TARGET, REGIMES, Criteria, classify

# --- the four faults that no figure may survive ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"), [("(1 - h.beta1) * g", "(1.0001 - h.beta1) * g"), ("h.beta2 * v", "h.beta1 * v")]
)
def test_a_wrong_coefficient_is_seen(monkeypatch, tmp_path, old, new):
    text = Path(adam.__file__).read_text()
    assert text.count(old) == 1
    (tmp_path / "adam.py").write_text(text.replace(old, new))
    wrong, right = rule(str(tmp_path / "adam.py")), rule("adam")
    test_optimizers.test_agrees_with_recorded_peer("adam")
    monkeypatch.setattr(test_optimizers, "rule", lambda _: wrong)
    with pytest.raises(AssertionError):
        test_optimizers.test_agrees_with_recorded_peer("adam")
    assert wrong.defaults == right.defaults


def test_a_stale_kernel_is_seen(monkeypatch, tmp_path):
    """With a cache that does not look at the sources, as Numba's own, an edited problem would run as it was."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))  # nothing stale stays behind
    test_portable.test_an_edit_within_a_process_is_seen(tmp_path)
    monkeypatch.setattr("adamx.portable.cache.digest", lambda *_: "always the same")
    (tmp_path / "other").mkdir()
    with pytest.raises(AssertionError):
        test_portable.test_an_edit_within_a_process_is_seen(tmp_path / "other")


def test_a_swapped_column_is_seen_in_the_kernel(monkeypatch):
    test_engine.test_lanes_equal_plain_python_to_the_bit("adam")
    constants = arrays.constants
    swapped = lambda chunk: (h := constants(chunk))._replace(beta1=h.beta2, beta2=h.beta1)
    monkeypatch.setattr(arrays, "constants", swapped)
    with pytest.raises(AssertionError):
        test_engine.test_lanes_equal_plain_python_to_the_bit("adam")


def test_a_swapped_column_is_seen_in_the_record(opened, sweep, monkeypatch):
    def swapped(results, *rest):
        columns = {**results.columns, "lr": results.columns["eps"], "eps": results.columns["lr"]}
        return children(dataclasses.replace(results, columns=columns), *rest)

    monkeypatch.setattr(parent, "children", swapped)
    with pytest.raises(AssertionError):
        test_record.test_a_sweep(opened, sweep)


def test_a_dropped_spike_is_seen(monkeypatch):
    def dropped(t, gap, slope, in_tail, f, m, c):
        f, m = track(t, gap, slope, in_tail, f, m, c)
        return f, m._replace(spikes=0)

    test_regimes.test_a_spike_is_counted_once_with_its_height()
    track = naive.track
    monkeypatch.setattr(naive, "track", dropped)
    with pytest.raises(AssertionError):
        test_regimes.test_a_spike_is_counted_once_with_its_height()
    with pytest.raises(AssertionError):
        test_figures_are_what_their_definitions_say()


def test_a_spike_between_two_records_is_kept():
    """All of it lies between two records of the curve, and the figures at full rate have it."""
    p = adamx.problems.problem("quadratic", {"curvature": 1.0, "target": 1e-30})
    hyper = {"lr": 0.1, "beta2": 0.99}
    often, seldom = (adamx.simulate("adam", p, hyper, 2000, record_every=n) for n in (1, 2000))
    assert seldom.loss.shape == (2, 1)
    assert often.figures["spikes"] == seldom.figures["spikes"] > 0
    assert often.regime == seldom.regime == "spiking"


# --- figures and regimes from whole curves ---------------------------------------------------------------------------


def by_definition(gaps, slopes, c):
    """The figures of a finite curve, from `adamx.regimes`' docstring."""
    steps, s, level = len(gaps) - 1, [], [max(gaps[0], 0.0)]
    for gap in gaps:
        s.append(c.keep * s[-1] + (1 - c.keep) * gap if s else gap)
        moved = level[-1] * 2 ** (1 / 8 if s[-1] > level[-1] else -1 / 16)
        level.append(max(moved, abs(gaps[0]) * c.spike_floor / c.spike_ratio))
    before, after = level[:-1], level[1:]
    spikes, spiking = [], False
    for t in range(steps + 1):
        seen = s[t] > max(c.spike_ratio * before[t], c.target)
        if not spiking and seen and before[t] <= gaps[0] / 2:
            spiking = True
            spikes.append((t, before[t], [s[t]]))
        elif spiking:
            spiking = s[t] > 2 * after[t]
            spikes[-1][2].extend([s[t]] * spiking)
    under = [value <= c.target for value in s]
    stay, above, popped = 0, 0, False  # steps under the target, and above it since
    for t in range(steps + 1):
        stay, above = (stay + 1 if not above else 1, 0) if under[t] else (stay, above + 1)
        popped |= above > 0 and stay >= 27 and 8 * (above - 1) < stay and s[t] > c.pop_ratio * c.target
    tail = [t for t in range(steps + 1) if t > steps - max(steps // 4, 1)]
    reached = under.index(True) if any(under) else -1
    ceiling = max(c.blowup * abs(gaps[0]), c.pop_ratio * c.target)
    least = [min(s[tail[0] - 1 : t]) for t in tail]
    return {
        "start": gaps[0],
        "smooth": s[-1],
        "level": after[-1],
        "best": min(s),
        "best_step": s.index(min(s)),
        "spikes": len(spikes),
        "first_spike_step": spikes[0][0] if spikes else -1,
        "spiking": spiking,
        "largest": max((max(values) / base for _, base, values in spikes), default=1.0),
        "reached_step": reached,
        "popped": popped,
        "diverged_step": -1,
        "overshoots": sum(slopes[t] > c.overshoot_ratio * abs(gaps[t]) for t in tail),
        "entry": s[tail[0] - 1],
        "least": min(s[tail[0] - 1 :]),
        "lost": sum(0 <= reached < t and not under[t] for t in tail),
        "high": sum(s[t] > ceiling for t in tail),
        "rose": any(s[t] > 2 * low > 0 for t, low in zip(tail, least, strict=True)),
    }


def curves(count=600, steps=160):
    """Decays that jump up now and then, with slopes of both signs."""
    rng = np.random.default_rng(0)
    for i in range(count):
        rate = rng.uniform(0, 0.12)
        log = np.cumsum(rng.normal(-rate, 0.1, steps + 1))
        for at in rng.integers(0, steps, rng.integers(0, 5)):
            log[at : at + rng.integers(1, 30)] += rng.uniform(0.5, 6)
        gaps = rng.choice([1e-3, 1.0, 50.0]) * np.exp(log) - (i % 7 == 0) * 0.01
        yield gaps.tolist(), (gaps * rng.normal(0, 0.15, steps + 1)).tolist()


CRITERIA = (
    Criteria(1e-2),
    Criteria(1e-3, spike_ratio=4.0, spike_floor=0.02, keep=0.75),
    Criteria(0.1, pop_ratio=3.0, overshoot_ratio=0.05, spike_floor=1e-3),
)


def test_figures_are_what_their_definitions_say():
    seen = dict.fromkeys(("spikes", "popped", "overshoots", "spiking", "lost", "high", "rose"), 0)
    for i, (gaps, slopes) in enumerate(curves()):
        c = CRITERIA[i % len(CRITERIA)]
        figures = naive.figures_of(gaps, slopes, c)
        expected = by_definition(gaps, slopes, c)
        figures["largest"] = figures["peak_most"] / figures["base_most"]
        for name, value in expected.items():
            assert figures[name] == pytest.approx(float(value), rel=1e-9, abs=1e-300), (i, name)
        for name in seen:
            seen[name] += expected[name] > 0
    assert min(seen.values()) > 5, f"the curves show too little: {seen}"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_changes_no_other_figure(bad):
    """Losses that are not finite are counted once, the first, and leave the figures where they were."""
    for gaps, slopes in curves(20):
        before = naive.figures_of(gaps, slopes, CRITERIA[0])
        after = naive.figures_of([*gaps, bad, bad], [*slopes, 0.0, 0.0], CRITERIA[0])
        assert after["diverged_step"] == len(gaps)
        for name in ("smooth", "level"):
            assert after[name] == before[name]
    assert naive.figures_of([bad, 1.0, bad], [0.0] * 3, CRITERIA[0])["diverged_step"] == 0


def regime_by_definition(f, c, steps):
    end, tail = f["smooth"], max(steps // 4, 1)
    start, spiked = abs(f["start"]), f["spikes"] or f["popped"]
    high, reached = f["high"] >= tail / 4 and not end <= start, f["reached_step"]
    if math.isnan(c.target) and f["diverged_step"] < 0:
        return "unjudged"
    ceiling = c.blowup * start if not math.isfinite(c.target) else max(c.blowup * start, c.pop_ratio * c.target)
    if f["diverged_step"] >= 0 or high or (not spiked and not end <= ceiling):
        return "diverged"
    if end < -c.blowup * start and f["entry"] - end >= (f["start"] - end) * tail / steps / 2:
        return "unbounded"
    if spiked:
        return "spiking"
    if c.target == -math.inf:
        if max(f["entry"], end) - f["least"] <= 1e-6 * abs(f["start"] - f["best"]):
            return "converged"
    elif (
        reached >= 0 and f["lost"] <= (steps - max(reached, steps - tail + 1) + 1) / 4 and end <= c.pop_ratio * c.target
    ):
        return "converged"
    moves = f["overshoots"] >= tail / 4 or f["rose"] or end > 2 * abs(f["best"])
    return "oscillating" if moves else "slow"


def test_regimes_are_what_their_definitions_say():
    rng = np.random.default_rng(1)
    n = 4000
    f = {
        "start": rng.choice([-1.0, 1.0, 3.0], n),
        "smooth": rng.choice([-7.0, 0.05, 0.1, 0.2, 1.0, 2.0, 2.5, 6.5, np.nan, np.inf], n),
        "best": rng.choice([-8.0, 0.05, 0.1, 0.5, 1.0], n),
        "entry": rng.choice([-7.0, -6.0, 0.05, 0.2, 1.0], n),
        "least": rng.choice([-7.0, 0.05, 0.2], n),
        "diverged_step": np.where(rng.random(n) < 0.2, rng.integers(0, 3, n), -1),
        "reached_step": rng.choice([-1, 3, 60, 68], n),
        "spikes": np.where(rng.random(n) < 0.2, rng.integers(1, 3, n), 0),
        "popped": (rng.random(n) < 0.2).astype(int),
        "overshoots": rng.integers(0, 9, n),
        "lost": rng.integers(0, 9, n),
        "high": rng.choice([0, 3, 4, 5], n),
        "rose": rng.integers(0, 2, n),
    }
    met = set()
    for c in (Criteria(0.1), Criteria(NO_TARGET), Criteria(NO_OBJECTIVE)):
        for steps in (80, 68):
            expected = [regime_by_definition({k: v[i] for k, v in f.items()}, c, steps) for i in range(n)]
            assert classify(f, c, steps).tolist() == expected
            met |= set(expected)
    assert met == set(REGIMES)


def test_the_thresholds_are_those_of_the_docstring():
    assert Criteria(1.0) == (1.0, 0.0, 10.0, 1e-12, 10.0, 0.1, 2.0)
    for steps in (1, 2, 3):  # too few for a quarter: nothing is divided by zero, and one overshoot is much
        figures = naive.figures_of([1.0] * (steps + 1), [1.0] * (steps + 1), Criteria(0.1))
        assert classify({k: np.array([v]) for k, v in figures.items()}, Criteria(0.1), steps)[0] == "oscillating"


# --- rules -----------------------------------------------------------------------------------------------------------


SCALED = [n for n in optimizers() if rule(n).preconditioner]


def walked(r, h, gradients, x=1.0, still=False):
    """Every step of one coordinate: (t, gradient, move, root, rate, alternating); `still` leaves x where it is."""
    state, clock = r.initial_state(h), r.initial_clock(h)
    for t, g in enumerate(gradients, 1):
        clock, now = r.per_step(float(t), clock, h)
        mean = (r.Pool(*r.pool(x, g, state, h, now)),) if r.pool else ()
        root, rate = r.preconditioner(x, g, state, clock, h, now, *mean)
        new, state = r.update(x, g, state, h, now, *mean)
        yield t, g, new - x, root, rate, r.alternating(clock, h, now)
        x = x if still else new


@pytest.mark.parametrize("name", SCALED)
def test_a_preconditioner_tells_root_and_rate(name):
    """Without momentum every move is -rate g, whatever else the rule does; root is what lr is divided by, but for eps.

    Gradients of all sizes, one of them a spike; rates that fall, clip, warm up and forget.
    """
    r = test_optimizers.rule(name)
    plain = {"lr": 0.01, "beta1": 0.0, "momentum": 0.0, "alpha": 0.0, "weight_decay": 0.0, "beta3": 0.9}
    plain |= {"beta2": 0.0} if name == "adan" else {}
    eps = {"eps": 0.3, "eps_root": 0.2, "eps_hat": 0.2, "eps_added": 0.2, "eps_floor": 0.4}
    changing = {"lr_decay": 0.3, "threshold": 9.0, "interval": 7.0, "warmup": 4.0}
    for extra in ({}, eps, changing):
        h = r.Hyper(**{k: v for k, v in (plain | extra).items() if k in r.defaults})
        random = np.random.default_rng(0).normal(size=12) * 10.0 ** np.arange(-4, 2).repeat(2)
        for t, g, move, root, rate, answer in walked(r, h, [*random.tolist(), 1e3, 0.4]):
            assert move == pytest.approx(-rate * g, rel=1e-9, abs=1e-13), (t, extra)
            assert root >= 0 and answer == 1
    if name in ("adadelta", "adam_atan2", "adopt", "avagrad", "lamb", "padam", "radam", "stable_adamw"):
        return  # they multiply by more than lr / root
    bare = plain | dict.fromkeys(eps, 0.0) | {"beta1": 0.5}
    h = r.Hyper(**{k: v for k, v in bare.items() if k in r.defaults})
    for t, _, _, root, rate, _ in walked(r, h, [0.4, -0.4, 0.3]):
        assert h.lr == pytest.approx(rate * root, rel=1e-9), t


@pytest.mark.parametrize("name", SCALED)
def test_momentum_answers_alternating_gradients_as_its_rule_says(name):
    """Gradients g, -g, g, ... for so long that all averages stand still: a move is -rate alternating g."""
    r = test_optimizers.rule(name)
    settled = {"lr": 0.01, "beta1": 0.8, "beta2": 0.6, "beta3": 0.7, "momentum": 0.8, "weight_decay": 0.0}
    slow = {"alpha_warmup": 900.0, "beta3_warmup": 900.0}  # which never stands still
    for extra in ({}, {"ema": True, "bias_correction": False, "centered": True}, slow):
        h = r.Hyper(**{k: v for k, v in (settled | extra).items() if k in r.defaults})
        for t, g, move, _, rate, answer in walked(r, h, [0.4, -0.4] * 200, still=True):
            if t > 390:
                assert answer > 0
                assert move == pytest.approx(-rate * answer * g, rel=1e-2 if extra is slow else 1e-6), t


def test_a_centered_root_is_the_standard_deviation():
    g = np.random.default_rng(0).normal(0.5, 1, 60)
    r = test_optimizers.rule("rmsprop")
    h = r.Hyper(beta2=0.9, centered=True)
    for t, _, _, root, _, _ in walked(r, h, g.tolist()):
        weights = 0.1 * 0.9 ** np.arange(t)[::-1]
        mean = (weights * g[:t]).sum()
        assert root**2 == pytest.approx((weights * g[:t] ** 2).sum() - mean**2)


def test_rounding_below_zero_is_no_deviation():
    """Of a constant gradient v - a^2 is rounding of either sign, and the step is lr g / eps."""
    r = test_optimizers.rule("rmsprop")
    h = r.Hyper(lr=1.0, beta2=0.9, eps=1e-3, centered=True)
    for g in (1.9164651165895739, 0.7868932723367427):  # below zero in the end
        for t, _, move, _, rate, _ in walked(r, h, [g] * 1500, still=True):
            if t > 500:
                assert -move == pytest.approx(g / h.eps, rel=1e-3)
                assert rate == pytest.approx(1 / h.eps, rel=1e-3)
        state = r.initial_state(h)
        for _ in range(1500):
            _, state = r.update(0.0, g, state, h, None)
        assert state.v - state.a * state.a < 0


def test_lamb_without_a_ratio_takes_the_plain_step():
    """You et al. 2019: the trust ratio is 1 where the weights are zero, or the direction is."""
    r = test_optimizers.rule("lamb")
    h = r.Hyper(lr=0.1, eps=0.0)
    _, now = r.per_step(1.0, r.initial_clock(h), h)
    for g in (0.4, -3.0):
        x, _ = r.update(0.0, g, r.initial_state(h), h, now, r.pool(0.0, g, r.initial_state(h), h, now))
        assert x == pytest.approx(-0.1 * np.sign(g), rel=1e-12)


def test_ademamix_takes_a_beta_of_zero():
    r = test_optimizers.rule("ademamix")
    for zero in ("beta1", "beta3"):
        assert np.isfinite(r.initial_clock(r.Hyper(**{zero: 0.0}))).all()


# --- children --------------------------------------------------------------------------------------------------------


def test_children_say_what_the_results_say():
    r = synthetic(product(lr=[1e-4, 1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2]), steps=4000, records=400)
    r.loss[200:, 3] = np.inf
    r = dataclasses.replace(r, settings={"batch": 64})
    table = r.table
    found = list(children(r, ["lr", "eps"], {"mine": "1"}))
    assert len(found) == len(r)
    for i, child in enumerate(found):
        assert child.name == f"lr={r.columns['lr'][i]:.4g} eps={r.columns['eps'][i]:.4g}"
        assert {k: float(child.params[k]) for k in r.columns} == {k: v[i] for k, v in r.columns.items()}
        assert (child.params["optimizer"], child.params["batch"]) == ("adam", "64")
        assert child.tags["regime"] == r.regime[i] and child.tags["mine"] == "1"
        at0 = {key: value for key, value, step in child.metrics if step == 0}
        for name in ("lr", "eps", "beta1", "best_loss", "spikes"):
            assert at0[name] == table[name][i]
        assert at0["log10_lr"] == pytest.approx(math.log10(r.columns["lr"][i]))
        loss = {step: value for key, value, step in child.metrics if key == "loss"}
        where = {int(step): k for k, step in enumerate(r.steps)}
        assert all(value == r.loss[where[step], i] for step, value in loss.items())
        finite = np.flatnonzero(np.isfinite(r.loss[:, i]))
        assert max(loss) == r.steps[finite[-1]] and len(loss) <= 100
        logs = {step: value for key, value, step in child.metrics if key == "log10_loss"}
        assert 25 <= len(logs) < 100 or i == 3
        assert all(value == pytest.approx(np.log10(r.loss[where[step], i])) for step, value in logs.items())
        assert max(logs) == max(loss)
    marks = [child.tags["curve_digest"] for child in found]
    assert len(set(marks)) == len(r)
    r.loss[5, 0] = np.nextafter(r.loss[5, 0], 0)
    again = [child.tags["curve_digest"] for child in children(r, ["lr", "eps"], {})]
    assert [a == b for a, b in zip(marks, again, strict=True)] == [False] + [True] * (len(r) - 1)
    deep = synthetic(product(lr=[1e-3, 1e-2]), minimum=-3.0)
    for i, child in enumerate(children(deep, [], {})):
        gaps = {step: value for key, value, step in child.metrics if key == "log10_gap"}
        assert gaps[0] == pytest.approx(np.log10(deep.loss[0, i] + 3))
    narrow = synthetic(product(lr=[1e-3, 2e-3], eps=[1e-8]))
    assert not any(key == "log10_lr" for child in children(narrow, ["lr"], {}) for key, *_ in child.metrics)


def test_which_runs_become_children():
    r = synthetic(product(lr=np.geomspace(1e-4, 1, 50), eps=[1e-8, 1e-2]))
    rank = np.argsort(np.where(np.isfinite(r.loss[-1]), r.loss[-1], np.inf), kind="stable")
    finite = int(np.isfinite(r.loss[-1]).sum())
    assert select([r], "top", 10).keep[0].tolist() == sorted(rank[:10])
    auto = set(select([r], "auto", 40).keep[0].tolist())
    assert {*rank[:10], *rank[finite - 5 : finite]} <= auto and len(auto) == 40
    others = np.setdiff1d(np.arange(len(r)), [*rank[:10], *rank[finite - 5 : finite]])
    sample = [int(np.sum(r.regime[sorted(auto & set(others.tolist()))] == name)) for name in np.unique(r.regime)]
    there = [int(np.sum(r.regime[others] == name)) for name in np.unique(r.regime)]
    short = [a for a, b in zip(sample, there, strict=True) if a < b]
    assert max(short) - min(short) <= 1, "equally many of every regime that has them"
    assert select([r]).keep[0].tolist() == list(range(100)) and select([r], "parent").keep[0].size == 0
    big = synthetic({"lr": np.full(2001, 1e-3)}, records=2)
    assert len(select([big]).keep[0]) == 2000
    assert len(select([big], "top").keep[0]) == 100
    assert points(5).tolist() == [0, 1, 2, 3, 4]
