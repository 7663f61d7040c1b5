"""Causes by which steps are too large: for the first ones, for the curvature, for what v still knows."""

from __future__ import annotations

import numpy as np

from adamx.watch.causes.cause import LIKELY, POSSIBLE, Cause
from adamx.watch.scene import NEAR, Scene

FIRST_LOSSES, FAR = 15, 2.5  # steps of a beginning; times lr, above which no corrected first update lies
ROSE = 1.5  # times the first loss


def no_warmup(scene: Scene) -> Cause | None:
    tape = scene.tape
    if not scene.has_loss or not scene.fact("adaptive") or len(scene.values) < 5:
        return None
    first, later = scene.most("step_rms", tape.first, tape.first + 4), scene.middle("step_rms", tape.first + 50, np.inf)
    far = first >= FAR and not later > 0.5 * first
    y, base = scene.values[1:FIRST_LOSSES], scene.start
    # without updates that are too large a single high loss may be its batch's
    peak = float(np.max(y if far else np.minimum(y[:-1], y[1:])))
    if peak < ROSE * base:
        return None
    _, lr = tape.series("lr")
    if lr[0] < 0.5 * lr[: 2 * NEAR].max():
        return None  # there is one
    evidence = [f"the loss rises from {base:.3g} to {peak:.3g} within {FIRST_LOSSES} steps"]
    if far:
        said = (
            "v begins at 0 and is not corrected for it" if not scene.fact("corrected") else "v knows few gradients yet"
        )
        evidence.append(f"the first updates are {first:.3g} lr (root mean square) and later ones {later:.2g}: {said}")
        sure = 0.95
    elif scene.end < 0.5 * scene.start:
        evidence.append("later the same lr does well")
        sure = LIKELY
    else:
        sure = POSSIBLE
    steps_needed = 2 / max(1 - scene.fact("beta2", 0.999), 1e-6)
    return Cause("no_warmup", sure, tuple(evidence), f"warm the lr up over {steps_needed:.0f} steps (2 / (1 - beta2))")


def unstable(scene: Scene) -> tuple[float, int, float] | None:
    """(curvature over its limit, when, sqrt(v_hat) over its largest) where the step is too large for the curvature."""
    if not scene.symptoms:
        return None
    ratio, when = scene.ratio(scene.tape.first, scene.tape.last)
    if scene.onset is not None and not scene.rough:
        near, at = scene.ratio(scene.onset - 60, scene.onset + 40)
        if near == near:
            ratio, when = near, at
    if ratio != ratio or ratio < 0.7:
        return None
    steps, roots = scene.tape.series("root_rms")
    if not len(roots) or not np.nanmax(roots) > 0:
        return ratio, when, 1.0
    since = scene.onset if scene.onset is not None else scene.tape.last
    earlier = roots[steps <= since]
    now = scene.rows("root_rms", since - 60, since + 5) if scene.onset is not None else roots[len(roots) // 2 :]
    if not len(earlier) or not len(now):
        return ratio, when, 1.0
    return ratio, when, float(np.nanmin(now) / np.nanmax(earlier))


SMALL_V, SMALL_LOSS = 0.2, 0.05  # of the largest sqrt(v_hat), of the first loss


def _converged(scene: Scene, left: float) -> bool:
    """True if the loss had become small before it went wrong, so that eps and v's memory count."""
    if not scene.has_loss:
        return left < SMALL_V
    return scene.lowest(scene.onset) < SMALL_LOSS * scene.start


GREW, WITHIN, DONE = 8.0, 100, 0.1  # times the first weights, in as many steps; of the first loss


def _thrown(scene: Scene) -> float:
    """How many times the weights grew in the first steps, where that is too much and the loss did not become small."""
    some = scene.rows("weight_rms", 0, scene.tape.first + WITHIN)
    first = scene.untouched
    if not scene.has_loss or not len(some) or not first > 0 or not scene.end > DONE * scene.start:
        return 1.0
    return float(some.max() / first)


BESIDE, GOOD = 0.0125, 0.007  # updates beside the weights, a step: more is too much; as much does well
HARDLY, HIGH = 0.8, 0.2  # of the loss before, of the first loss


def _beside(scene: Scene) -> float | None:
    """The updates beside the weights, a step, where they are large all along and the loss hardly falls."""
    if not scene.fall > HARDLY or not scene.end > HIGH * scene.start:
        return None
    if scene.lowered is not None and not scene.flat:
        return None  # fewer steps at that lr: the loss must have stopped
    beside = scene.beside
    return beside if beside > BESIDE else None


def edge_of_stability(scene: Scene) -> Cause | None:
    found, grew, beside = unstable(scene), _thrown(scene), _beside(scene)
    if found and scene.fact("adaptive") and _converged(scene, found[2]):
        found = None
    evidence, sure, over = [], LIKELY, grew
    if found:
        over, when, _ = found
        evidence.append(f"the curvature reaches {over:.3g} of the limit at step {when}, above which a step diverges")
        sure = 0.85 if over >= 1 else LIKELY
    if grew >= GREW:
        evidence.append(
            f"the weights grow to {grew:.3g} times their size within {WITHIN} steps, and the loss stays above "
            f"{scene.end / scene.start:.0%} of the first: updates throw them out to where the loss is flat"
        )
    if beside:
        until = "" if scene.lowered is None else " before lr was lowered"
        evidence.append(
            f"an update is {beside:.1%} of the weights (root mean square; well below 1 % does better), and the loss of "
            f"the last quarter{until} is still {scene.fall:.0%} of that of the second"
        )
        sure = max(sure, 0.7)
    if not evidence:
        return None
    factor = 1 / max(1.25 * over, 1.25)
    if beside:
        factor = min(factor, (GOOD / beside) ** 2)  # the weights grow with lr: updates go with about its root
    lr = factor * scene.most("lr", 0, np.inf)
    return Cause("edge_of_stability", sure, tuple(evidence), f"lr = {lr:.2g}")


FREE, FREE_SHARE = 0.5, 0.3  # of the rate at which v decays without gradients, and of the steps
SMALL_LAG = 0.55  # gradients over sqrt(v_hat)


def forgotten(scene: Scene) -> tuple[float, float] | None:
    """(share of the 200 steps before the onset in which v decayed freely, g over sqrt(v_hat)) where it is so."""
    since = scene.onset if scene.onset is not None else scene.tape.last
    steps, roots = scene.tape.series("root_rms")
    inside = (steps >= since - 200) & (steps < since) & (roots > 0)
    beta2, lags = scene.fact("beta2", 0.999), scene.rows("lag", since - 200, since - 1)
    if inside.sum() < 3 or not 0 < beta2 < 1 or not len(lags):
        return None
    x, y = steps[inside], 2 * np.log(roots[inside])
    free = np.diff(y) < FREE * np.diff(x) * np.log(beta2)
    share, lag = float(np.sum(np.diff(x)[free]) / (x[-1] - x[0])), float(np.quantile(lags, 0.25))
    return (share, lag) if share > FREE_SHARE and lag < SMALL_LAG else None


def _eps_needed(scene: Scene, ratio: float, when: int) -> float:
    """The eps at which the curvature equals its limit if v is 0, for the median coordinate."""
    lr, rate = scene.middle("lr", when, when), scene.middle("effective_lr_50", when - scene.tape.every, when)
    return float(ratio * lr / rate) if rate > 0 else np.nan


def v_forgot(scene: Scene) -> Cause | None:
    found, memory = unstable(scene), forgotten(scene)
    if not found or not memory or not scene.fact("adaptive") or not _converged(scene, found[2]):
        return None
    ratio, when, left = found
    free, lag = memory
    beta2 = scene.fact("beta2", 0.999)
    evidence = (
        f"sqrt(v_hat) has fallen to {left:.2g} of its largest, and decays freely in {free:.0%} of the 200 steps before",
        f"gradients are down to {lag:.2g} of sqrt(v_hat): v forgets what it has seen",
        f"the curvature reaches {ratio:.3g} of the limit at step {when}",
    )
    change = f"beta2 = {1 - (1 - beta2) / 10:.5g}, or eps = {_eps_needed(scene, ratio, when):.1g}"
    return Cause("v_forgot", 0.88 if ratio >= 1 else LIKELY, evidence, change)


def eps_too_small(scene: Scene) -> Cause | None:
    found = unstable(scene)
    if not found or not scene.fact("adaptive") or not _converged(scene, found[2]):
        return None
    ratio, when, left = found
    eps = scene.fact("eps", 0.0)
    steps, step = scene.middle("step_rms", when - 50, when + 50), scene.middle("grad_norm", when - 50, when + 50)
    evidence = (
        f"gradients have fallen and sqrt(v_hat) with them, to {left:.2g} of its largest; updates are {steps:.2g} lr",
        f"eps = {eps:.1g} is too small to bound them: the curvature reaches {ratio:.3g} of the limit at step {when} "
        f"(norm of the gradient {step:.2g})",
    )
    change = f"eps = {_eps_needed(scene, ratio, when):.1g} (lr curvature (1 - beta1) / (2 (1 + beta1)))"
    return Cause("eps_too_small", 0.82 if ratio >= 1 else 0.6, evidence, change)
