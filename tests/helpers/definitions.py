"""Checks by definition: figures and regimes of whole curves, and what a rule says of its own steps.

Every check takes what it judges: adamx.regimes (`by`) or a rule, or one with a fault planted in it (tests/mutants.py).
"""

import math

import naive
import numpy as np
import pytest

from adamx import regimes
from adamx.regimes import NO_OBJECTIVE, NO_TARGET, REGIMES, Criteria

# --- curves made by hand ---------------------------------------------------------------------------------------------


def regime(gaps, slopes=None, criteria=Criteria(1e-6), by=regimes):
    """The regime of a curve, and its figures."""
    gaps = [float(g) for g in gaps]
    figures = naive.figures_of(gaps, slopes if slopes is not None else [0.0] * len(gaps), criteria, by=by)
    return str(by.classify({k: np.array([v]) for k, v in figures.items()}, criteria, len(gaps) - 1)[0]), figures


def decay(steps, rate=0.95):
    return list(np.power(rate, np.arange(steps + 1)))


def curves_by_hand_have_their_regimes(by):
    found = lambda *curve: regime(*curve, by=by)[0]
    assert found(decay(400)) == "converged"
    assert found(decay(100)) == "slow"
    assert found([1.0] * 100) == "slow"
    assert found([1.0, 2.0, math.inf, math.nan]) == "diverged"
    assert found([1.0, 2.0, 5.0, 11.0]) == "diverged"
    assert found([1e-3] * 100, [1e-3] * 100) == "oscillating"


def a_spike_is_counted_once_with_its_height(by):
    curve = decay(150)
    curve[100:106] = [curve[99] * f for f in (5, 50, 500, 400, 90, 20)]
    name, figures = regime(curve, by=by)
    assert name == "spiking"
    assert (figures["spikes"], figures["first_spike_step"]) == (1, 101)
    assert figures["peak_most"] == curve[102]


def a_pop_is_leaving_after_settling(by):
    low = decay(400)
    assert regime([*low, *[1e-4] * 5], by=by)[1]["popped"]
    assert not regime(low, by=by)[1]["popped"]
    crossing = [abs(math.cos(t / 50)) ** 2 * 0.99**t for t in range(3000)]  # an oscillation that rings down
    name, figures = regime(crossing, by=by)
    assert (name, figures["spikes"], figures["popped"]) == ("converged", 0, 0)


def criteria_are_those_of_noise_and_of_batches(by):
    assert by.of_landscape(0.25, 0.0) == by.of_landscape(0.25, 0.5) == by.Criteria(0.25)
    assert by.of_landscape(0.25, 0.6) == by.Criteria(0.25, spike_ratio=100.0)
    assert by.of_landscape(NO_TARGET, 0.0) == by.Criteria(NO_TARGET, spike_ratio=100.0, spike_floor=0.01)
    assert by.of_batches(0.1, 0, {}) == by.of_batches(0.1, None, {}) == by.Criteria(0.1, spike_floor=1e-9)
    noisy = by.Criteria(0.1, keep=31 / 32, spike_ratio=4.0, spike_floor=0.02)
    assert by.of_batches(0.1, 8, {}) == noisy
    assert by.of_batches(0.1, 64, {"blowup": 3.0}) == noisy._replace(keep=15 / 16, blowup=3.0)


def the_tail_is_the_last_quarter(by):
    assert [t for t in range(101) if t >= by.tail_start(100)] == list(range(76, 101))


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


def figures_are_what_their_definitions_say(by):
    seen = dict.fromkeys(("spikes", "popped", "overshoots", "spiking", "lost", "high", "rose"), 0)
    for i, (gaps, slopes) in enumerate(curves()):
        c = CRITERIA[i % len(CRITERIA)]
        figures = naive.figures_of(gaps, slopes, c, by=by)
        expected = by_definition(gaps, slopes, c)
        figures["largest"] = figures["peak_most"] / figures["base_most"]
        for name, value in expected.items():
            assert figures[name] == pytest.approx(float(value), rel=1e-9, abs=1e-300), (i, name)
        for name in seen:
            seen[name] += expected[name] > 0
    assert min(seen.values()) > 5, f"the curves show too little: {seen}"


def what_is_not_finite_changes_no_other_figure(by, bad):
    """Losses that are not finite are counted once, the first, and leave the figures where they were."""
    for gaps, slopes in curves(20):
        before = naive.figures_of(gaps, slopes, CRITERIA[0], by=by)
        after = naive.figures_of([*gaps, bad, bad], [*slopes, 0.0, 0.0], CRITERIA[0], by=by)
        assert after["diverged_step"] == len(gaps)
        for name in ("smooth", "level"):
            assert after[name] == before[name]
    assert naive.figures_of([bad, 1.0, bad], [0.0] * 3, CRITERIA[0], by=by)["diverged_step"] == 0


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


def regimes_are_what_their_definitions_say(by):
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
    for c in map(by.Criteria, (0.1, NO_TARGET, NO_OBJECTIVE)):
        for steps in (80, 68):
            expected = [regime_by_definition({k: v[i] for k, v in f.items()}, c, steps) for i in range(n)]
            assert by.classify(f, c, steps).tolist() == expected
            met |= set(expected)
    assert met == set(REGIMES)


def thresholds_are_those_of_the_docstring(by):
    assert by.Criteria(1.0) == (1.0, 0.0, 10.0, 1e-12, 10.0, 0.1, 2.0)
    for steps in (1, 2, 3):  # too few for a quarter: nothing is divided by zero, and one overshoot is much
        assert regime([1.0] * (steps + 1), [1.0] * (steps + 1), by.Criteria(0.1), by)[0] == "oscillating"


# --- rules -----------------------------------------------------------------------------------------------------------


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


def a_preconditioner_tells_root_and_rate(r):
    """Without momentum every move is -rate g, whatever else the rule does; root is what lr is divided by, but for eps.

    Gradients of all sizes, one of them a spike; rates that fall, clip, warm up and forget.
    """
    plain = {"lr": 0.01, "beta1": 0.0, "momentum": 0.0, "alpha": 0.0, "weight_decay": 0.0, "beta3": 0.9}
    plain |= {"beta2": 0.0} if r.name == "adan" else {}
    eps = {"eps": 0.3, "eps_root": 0.2, "eps_hat": 0.2, "eps_added": 0.2, "eps_floor": 0.4}
    changing = {"lr_decay": 0.3, "threshold": 9.0, "interval": 7.0, "warmup": 4.0}
    for extra in ({}, eps, changing):
        h = r.Hyper(**{k: v for k, v in (plain | extra).items() if k in r.defaults})
        random = np.random.default_rng(0).normal(size=12) * 10.0 ** np.arange(-4, 2).repeat(2)
        for t, g, move, root, rate, answer in walked(r, h, [*random.tolist(), 1e3, 0.4]):
            assert move == pytest.approx(-rate * g, rel=1e-9, abs=1e-13), (t, extra)
            assert root >= 0 and answer == 1
    if r.name in ("adadelta", "adam_atan2", "adopt", "avagrad", "lamb", "padam", "radam", "stable_adamw"):
        return  # they multiply by more than lr / root
    bare = plain | dict.fromkeys(eps, 0.0) | {"beta1": 0.5}
    h = r.Hyper(**{k: v for k, v in bare.items() if k in r.defaults})
    for t, _, _, root, rate, _ in walked(r, h, [0.4, -0.4, 0.3]):
        assert h.lr == pytest.approx(rate * root, rel=1e-9), t


def momentum_answers_alternating_gradients_as_its_rule_says(r):
    """Gradients g, -g, g, ... for so long that all averages stand still: a move is -rate alternating g."""
    settled = {"lr": 0.01, "beta1": 0.8, "beta2": 0.6, "beta3": 0.7, "momentum": 0.8, "weight_decay": 0.0}
    slow = {"alpha_warmup": 900.0, "beta3_warmup": 900.0}  # which never stands still
    for extra in ({}, {"ema": True, "bias_correction": False, "centered": True}, slow):
        h = r.Hyper(**{k: v for k, v in (settled | extra).items() if k in r.defaults})
        for t, g, move, _, rate, answer in walked(r, h, [0.4, -0.4] * 200, still=True):
            if t > 390:
                assert answer > 0
                assert move == pytest.approx(-rate * answer * g, rel=1e-2 if extra is slow else 1e-6), t


def a_centered_root_is_the_standard_deviation(r):
    g = np.random.default_rng(0).normal(0.5, 1, 60)
    h = r.Hyper(beta2=0.9, centered=True)
    for t, _, _, root, _, _ in walked(r, h, g.tolist()):
        weights = 0.1 * 0.9 ** np.arange(t)[::-1]
        mean = (weights * g[:t]).sum()
        assert root**2 == pytest.approx((weights * g[:t] ** 2).sum() - mean**2)


def rounding_below_zero_is_no_deviation(r):
    """For a constant gradient, v - a^2 is rounding of either sign, and the step is lr g / eps."""
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


def lamb_without_a_ratio_takes_the_plain_step(r):
    """You et al. 2019: the trust ratio is 1 where the weights are zero, or the direction is."""
    h = r.Hyper(lr=0.1, eps=0.0)
    _, now = r.per_step(1.0, r.initial_clock(h), h)
    for g in (0.4, -3.0):
        x, _ = r.update(0.0, g, r.initial_state(h), h, now, r.pool(0.0, g, r.initial_state(h), h, now))
        assert x == pytest.approx(-0.1 * np.sign(g), rel=1e-12)


def ademamix_takes_a_beta_of_zero(r):
    for zero in ("beta1", "beta3"):
        assert np.isfinite(r.initial_clock(r.Hyper(**{zero: 0.0}))).all()
