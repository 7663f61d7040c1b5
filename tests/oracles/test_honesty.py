"""Numerical honesty: figures, regimes and what rules say of themselves, by their definitions.

That a fault planted on purpose is seen stands beside the test that sees it: `test_a_..._is_seen`.
"""

import math

import definitions
import pytest

import adamx
from adamx import regimes
from adamx.optimizers import optimizers, rule


def test_a_spike_between_two_records_is_kept():
    """All spikes lie between two records of the curve, and the figures, kept at every step, count them."""
    p = adamx.problems.problem("quadratic", {"curvature": 1.0, "target": 1e-30})
    hyper = {"lr": 0.1, "beta2": 0.99}
    often, seldom = (adamx.simulate("adam", p, hyper, 2000, record_every=n) for n in (1, 2000))
    assert seldom.loss.shape == (2, 1)
    assert often.figures["spikes"] == seldom.figures["spikes"] > 0
    assert often.regime == seldom.regime == "spiking"


# --- figures and regimes from whole curves ---------------------------------------------------------------------------


def test_figures_are_what_their_definitions_say():
    definitions.figures_are_what_their_definitions_say(regimes)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_changes_no_other_figure(bad):
    definitions.what_is_not_finite_changes_no_other_figure(regimes, bad)


def test_regimes_are_what_their_definitions_say():
    definitions.regimes_are_what_their_definitions_say(regimes)


def test_the_thresholds_are_those_of_the_docstring():
    definitions.thresholds_are_those_of_the_docstring(regimes)


# --- rules -----------------------------------------------------------------------------------------------------------


SCALED = [n for n in optimizers() if rule(n).preconditioner]


@pytest.mark.parametrize("name", SCALED)
def test_a_preconditioner_tells_root_and_rate(name):
    definitions.a_preconditioner_tells_root_and_rate(rule(name))


@pytest.mark.parametrize("name", SCALED)
def test_momentum_answers_alternating_gradients_as_its_rule_says(name):
    definitions.momentum_answers_alternating_gradients_as_its_rule_says(rule(name))


def test_a_centered_root_is_the_standard_deviation():
    definitions.a_centered_root_is_the_standard_deviation(rule("rmsprop"))


def test_rounding_below_zero_is_no_deviation():
    definitions.rounding_below_zero_is_no_deviation(rule("rmsprop"))


def test_lamb_without_a_ratio_takes_the_plain_step():
    definitions.lamb_without_a_ratio_takes_the_plain_step(rule("lamb"))


def test_ademamix_takes_a_beta_of_zero():
    definitions.ademamix_takes_a_beta_of_zero(rule("ademamix"))
