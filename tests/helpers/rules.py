"""Checks of a rule in plain Python: that it goes where its peer and its paper go, and its contract.

Every check takes the rule that it judges: one of the folder, or one with a fault planted in it (tests/mutants.py).
"""

from __future__ import annotations

import naive
import numpy as np
import papers
import peers
import pytest

from adamx.optimizers import rule


def follow(of, hyper, gradients, x):
    """(steps, coordinates) the points of a rule (itself or its name) on a stream of gradients."""
    r = rule(of)
    h = r.Hyper(**hyper)
    clock, points = r.initial_clock(h), []
    states = [r.initial_state(h)] * len(x)
    x = list(map(float, x))
    for t, g in enumerate(gradients):
        clock, now = r.per_step(t + 1.0, clock, h)
        pairs = naive.updates(r, x, list(map(float, g)), states, h, now)
        x, states = [p[0] for p in pairs], [p[1] for p in pairs]
        points.append(x)
    return np.array(points)


def assert_follows(of, hyper, expected, kinds=slice(None)):
    points = follow(of, hyper, peers.gradients(), peers.start())[peers.KEEP]
    scale = np.abs(expected).max(axis=0) + np.abs(expected - peers.start()).max(axis=0)
    error = np.abs(points - expected).max(axis=0) / scale
    assert (error[kinds] < 1e-12).all(), dict(zip(peers.KINDS, error, strict=True))


def agrees_with_recorded_peer(r, case):
    _, hyper, *_ = peers.CASES[case]
    # A constant gradient leaves v - a^2 to cancellation: PyTorch's own last digits decide its square root.
    kinds = [k for k, kind in enumerate(peers.KINDS) if not (hyper.get("centered") and kind in ("constant", "zero"))]
    assert_follows(r, hyper, peers.recorded()[case], kinds)


def agrees_with_the_paper(r, hyper):
    assert set(hyper) == set(r.defaults), "an oracle takes every field"
    assert_follows(r, hyper, getattr(papers, r.name)(peers.gradients(), peers.start(), **hyper)[peers.KEEP])


def stays_without_a_gradient(r):
    x = follow(r, {}, np.zeros((50, 2)), [1.0, -2.0])
    decay = 1 - r.defaults["lr"] * r.defaults.get("weight_decay", 0.0)
    assert x[-1] == pytest.approx([decay**50, -2 * decay**50], rel=1e-12)


def is_symmetric_in_sign(r):
    g = peers.gradients()
    plus, minus = follow(r, {}, g, peers.start()), follow(r, {}, -g, -peers.start())
    np.testing.assert_array_equal(plus, -minus)
