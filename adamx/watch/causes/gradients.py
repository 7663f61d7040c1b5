"""Causes by which gradients grow: one bad batch, an explosion upstream of the optimizer, data that have changed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adamx.watch.causes.cause import LIKELY, Cause
from adamx.watch.causes.steps import forgotten
from adamx.watch.scene import Scene

HIGH = 4.0  # times the median norm
FAR_SMALLER, BACK = 0.03, 0.35  # of the norm at the surge: of the step before, of the steps after
AT_ONCE = 1000.0  # times the loss before, in one step


class Surge(NamedTuple):
    """How the gradient's norm rose about the onset."""

    base: float  # its median before
    step: int  # the first above `HIGH` times the median
    size: float  # at that step
    sudden: bool  # a step before it was a usual one, or far smaller
    climb: int  # steps since it was last below twice the median
    next: float  # median of the three steps after
    stays: float  # median of the steps after, over the median before


def surge(scene: Scene) -> Surge | None:
    """The rise of the gradient's norm about the onset, None where there is none."""
    if scene.onset is None:
        return None
    steps, norm = scene.tape.series("norm")
    if len(norm) < 10:
        return None
    i = int(np.clip(scene.onset - scene.tape.first, 0, len(norm) - 1))
    low = max(0, i - 40)
    quiet = norm[low : i - 3] if i > 10 else norm[: max(3, i - 3)]
    quiet = quiet[np.isfinite(quiet) & (quiet > 0)]
    if not len(quiet):
        return None
    base = float(np.median(quiet))
    first = max(0, i - 5)
    high = ~(norm[first : i + 10] <= HIGH * base)
    if not high.any():
        return None
    j = int(np.argmax(high)) + first
    quieter = np.flatnonzero(norm[low : j + 1] <= 2 * base)
    climb = j - (int(quieter[-1]) + low) if len(quieter) else j - low
    sudden = climb <= 1 or (j > 0 and bool(norm[j - 1] < FAR_SMALLER * norm[j]))
    after = norm[j + 1 : j + 11]
    after = np.where(np.isfinite(after), after, np.inf)
    soon, stays = (float(np.median(after[:3])), float(np.median(after) / base)) if len(after) else (np.inf, np.inf)
    return Surge(base, int(steps[j]), float(norm[j]), sudden, climb, soon, stays)


def bad_batch(scene: Scene) -> Cause | None:
    rise = surge(scene)
    if rise is None or not rise.sudden:
        return None
    # the loss is high no later than the gradient: before any update by that batch
    at = next((e for e in scene.episodes if rise.step - 1 <= e.step <= rise.step), None)
    if at is None:
        return None
    after = scene.values[(scene.steps > at.step) & (scene.steps <= at.step + 6)]
    back = rise.next < BACK * rise.size and len(after) > 0 and float(np.median(after)) < 0.4 * at.peak
    own = float(scene.values[scene.steps == at.step][0])
    if not back and not (own > AT_ONCE * at.base and _lr_as_before(scene, at.step)):
        return None
    evidence = (
        f"at step {rise.step} alone the gradient's norm is {rise.size:.3g}, {rise.size / rise.base:.3g} medians",
        f"the loss of that batch is {own:.3g} before any update by it, and {np.median(after):.3g} right after",
    )
    if not back:
        evidence = (
            f"at step {at.step} the loss is {own:.3g}, {own / at.base:.3g} times that before, after a usual update at "
            "a usual lr: no instability grows so much in a step",
            f"the gradient's norm is {rise.size:.3g}, {rise.size / rise.base:.3g} medians, and the update by it is not "
            "survived",
        )
    return Cause(
        "bad_batch",
        0.93 if back else LIKELY,
        evidence,
        f"look at that batch; clip the gradient's norm at {3 * rise.base:.2g} (3 medians)",
    )


def _lr_as_before(scene: Scene, step: int) -> bool:
    """True if lr was not raised before a step."""
    return not scene.most("lr", step - 2, step) > 1.5 * scene.middle("lr", step - 12, step - 3)


SMOOTH, BEFORE, AROUND = 9, 150, 60  # steps: of a median, of the usual norm, about the onset
BEGUN, GROWN, CLIMB = 2.0, 8.0, 10  # times the usual norm, reached in as many steps or more
STEEP, IN_STEPS = 3.5, 5  # the most that it grows in a few steps: more is a jump, or an instability


def exploding_gradient(scene: Scene) -> Cause | None:
    if scene.onset is None:
        return None
    steps, norm = scene.tape.series("norm")
    if len(norm) < 4 * CLIMB:
        return None
    finite = np.where(np.isfinite(norm), norm, np.inf)
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(finite, SMOOTH), axis=1)
    middle = steps[SMOOTH // 2 :]
    i = int(np.clip(scene.onset - middle[0], 0, len(smooth) - 1))
    earlier = smooth[max(0, i - BEFORE) : i + 1]
    base = float(np.quantile(earlier[np.isfinite(earlier)], 0.25)) if np.isfinite(earlier).any() else 0.0
    low = max(0, i - AROUND)
    grown = np.flatnonzero(smooth[low : i + AROUND] > GROWN * base)
    if not base > 0 or not len(grown):
        return None
    end = int(grown[0]) + low
    quiet = np.flatnonzero(smooth[:end] <= BEGUN * base)
    if not len(quiet) or end - quiet[-1] < CLIMB:
        return None
    begun = int(quiet[-1])
    climb = smooth[max(0, begun - IN_STEPS) : end + 1]
    if np.max(climb[IN_STEPS:] / climb[:-IN_STEPS]) > STEEP:
        return None
    ratio, when = scene.ratio(int(middle[begun]) - 2 * AROUND, int(middle[end]))
    if ratio > 1:
        return None
    evidence = [
        f"the gradient's norm climbs without a jump, from {base:.3g} to {BEGUN:.0f} times that by step {middle[begun]} "
        f"and {GROWN:.0f} times by step {middle[end]}, at last to {np.max(smooth[end:]):.3g}"
    ]
    if ratio == ratio:
        evidence.append(f"until then the curvature is {max(ratio, 0):.2g} of its limit (step {when})")
    return Cause(
        "exploding_gradient",
        0.92,
        tuple(evidence),
        f"what the model is fed or multiplies by grows: look there; clip the gradient's norm at {3 * base:.2g}",
    )


def v_lags(scene: Scene) -> Cause | None:
    rise = surge(scene)
    if rise is None or not scene.fact("adaptive") or forgotten(scene):
        return None
    lag = scene.most("lag", rise.step - 1, rise.step + 8)
    usual = scene.middle("lag", scene.tape.first + 5, rise.step - 2)
    if not (lag > 2.5 * max(usual, 0.3)) or rise.climb > 6 or rise.stays < 2:
        return None
    if scene.ratio(rise.step - 60, rise.step - 1)[0] > 0.9:
        return None  # it was unstable before the gradient grew
    step = scene.most("step_rms", rise.step - 1, rise.step + 10)
    before = scene.middle("step_rms", scene.tape.first + 5, rise.step - 2)
    evidence = [
        f"from step {rise.step} on the gradient is {rise.stays:.3g} times as large: the data have changed",
        f"g^2 outruns v: lag {lag:.3g} against {usual:.2g} before",
    ]
    if step > 1.3 * before:
        evidence.append(f"the updates grow from {before:.2g} to {step:.2g} lr (root mean square)")
    beta2 = scene.fact("beta2", 0.999)
    return Cause(
        "v_lags",
        0.92 if step > 1.3 * before else LIKELY,
        tuple(evidence),
        f"beta2 = {max(0.9, 1 - 10 * (1 - beta2)):.3g}, or divide the update by its root mean square over lr "
        "(StableAdamW; Wortsman et al. 2023, arXiv 2304.13013)",
    )
