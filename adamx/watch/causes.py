"""Causes: what can be wrong with a training, each a function of a `Scene` that gives its evidence or None.

The thresholds were tuned on the trainings that `experiments/planted_faults.py tune` makes. How sure a cause is, from 0
to 1, is its evidence's weight against that of the others and no probability.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from adamx.watch.scene import Scene

CERTAIN, LIKELY, POSSIBLE = 0.9, 0.65, 0.4
NEAR = 30  # steps in which what happened at one can be the cause of what is seen
HALF = ("float16", "bfloat16")


class Cause(NamedTuple):
    """One explanation: its name, how sure it is, the evidence, the smallest change that theory names."""

    name: str
    sure: float
    evidence: tuple[str, ...]
    change: str


def follows(scene: Scene, step: int, within: int = NEAR) -> bool:
    """True if the loss went wrong at a step or soon after it."""
    begun = [e.step for e in scene.episodes] + ([scene.broken] if scene.broken is not None else [])
    begun += [scene.early.step] if scene.early else []
    return any(step - 1 <= b <= step + within for b in begun)


def moments_lost(scene: Scene) -> Cause | None:
    events = [e for e in scene.tape.events if e.kind == "moments_lost"]
    if not events:
        return None
    event = next((e for e in events if follows(scene, e.step)), events[0])
    seen = follows(scene, event.step)
    beta2 = scene.fact("beta2", 0.999)
    evidence = [f"at step {event.step} {event.said}"]
    if seen:
        evidence.append("the loss goes wrong right after it")
    return Cause(
        "moments_lost",
        0.98 if seen else LIKELY,
        tuple(evidence),
        "restore the optimizer's state_dict with the parameters, or warm the lr up again over "
        f"{2 / max(1 - beta2, 1e-6):.0f} steps (2 / (1 - beta2))",
    )


def lr_jump(scene: Scene) -> Cause | None:
    best: tuple[float, int, float, float] | None = None
    for group in range(len(scene.tape.lr)):
        steps, lr = scene.tape.series("lr", group)
        for i in range(6, len(lr)):
            before = float(lr[i - 1])
            if before > 0 and lr[i] >= 2 * before and follows(scene, int(steps[i])):
                found = float(lr[i] / before), int(steps[i]), before, float(lr[i])
                best = found if best is None or found[0] > best[0] else best
    if best is None:
        return None
    factor, step, before, after = best
    return Cause(
        "lr_jump",
        0.97,
        (
            f"lr jumps from {before:.3g} to {after:.3g} at step {step}, {factor:.3g} times",
            "the loss goes wrong after it",
        ),
        f"keep lr at {before:.3g}, or let it rise over {100 * int(np.ceil(np.log2(factor)))} steps instead of one",
    )


def half_precision(scene: Scene) -> Cause | None:
    kinds = {kind for g in scene.tape.groups for kind in str(g.get("dtype", "")).split("/") if kind in HALF}
    if not kinds:
        return None
    kind = sorted(kinds)[0]
    eps, lost = scene.fact("eps", 1.0), scene.middle("lost_updates", 0, np.inf)
    broken = scene.broken is not None
    gone = kind == "float16" and eps < 2.0**-25 and scene.fact("adaptive") > 0
    evidence = []
    if gone:
        evidence.append(f"eps = {eps:.3g} is 0 in float16, whose least number is 6e-8, and g^2 below that is 0 too")
    if lost >= 0.3:
        evidence.append(f"{lost:.0%} of the updates are lost: smaller than half a unit of the {kind} parameter")
    if not evidence:
        return None
    sure = 0.97 if gone and broken else 0.95 if lost >= 0.6 else LIKELY if scene.symptoms else POSSIBLE
    change = (
        "eps = 1e-4, or keep parameters and state in float32 (mixed precision)"
        if gone
        else ("keep float32 master parameters (mixed precision), or round stochastically")
    )
    return Cause("half_precision", sure, tuple(evidence), change)


def dead_coordinates(scene: Scene) -> Cause | None:
    late = scene.tape.last - max(50, (scene.tape.last - scene.tape.first) // 2)
    whole, most = scene.middle("dead", late, np.inf), scene.middle("dead_most", late, np.inf)
    if not (most >= 0.9 or whole >= 0.5):
        return None
    sure = CERTAIN if most >= 0.97 else LIKELY
    evidence = f"{whole:.0%} of all coordinates have had no gradient, {most:.0%} of the worst tensor"
    return Cause(
        "dead_coordinates",
        sure,
        (evidence,),
        "look at that layer's inputs and biases (dead ReLUs), and at a smaller lr",
    )


def weight_decay(scene: Scene) -> Cause | None:
    n, decay = scene.length, scene.fact("weight_decay")
    if not decay or n < FEW_ROWS * scene.tape.every:
        return None
    late = scene.tape.last - n / 2
    pull = scene.middle("decay", late, np.inf)
    first, now = scene.middle("weight_rms", 0, scene.tape.first + 4), scene.middle("weight_rms", late, np.inf)
    if not (pull >= 0.5 and (scene.stalled or scene.risen or scene.end > 0.5 * scene.start)):
        return None
    evidence = [f"the decay's part is {pull:.2g} times as large as the rest of the {_decayed(scene)}"]
    if now < 0.7 * first:
        evidence.append(f"the weights have shrunk from {first:.2g} to {now:.2g} (root mean square)")
    sure = 0.95 if now < 0.7 * first else 0.8
    return Cause("weight_decay", sure, tuple(evidence), f"weight_decay = {decay * 0.1 / pull:.1g}, a tenth of the rest")


FEW_ROWS = 3


def _decayed(scene: Scene) -> str:
    return "update" if scene.fact("decoupled") else "gradient"


def no_warmup(scene: Scene) -> Cause | None:
    tape = scene.tape
    first, later = scene.most("step_rms", tape.first, tape.first + 4), scene.middle("step_rms", tape.first + 50, np.inf)
    if not scene.fact("adaptive") or len(scene.values) < 5:
        return None
    y, base = scene.values[1:15], float(np.median(scene.values[:2]))
    peak = float(np.max(np.minimum(y[:-1], y[1:])))
    far = first >= 2.5 and not later > 0.5 * first
    if peak < (1.1 if far else 1.5) * base:
        return None
    beta2 = scene.fact("beta2", 0.999)
    _, lr = tape.series("lr")
    if lr[0] < 0.5 * lr[: 2 * NEAR].max():
        return None  # there is one
    evidence = [f"the loss rises from {base:.3g} to {peak:.3g} within 15 steps"]
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
    steps_needed = 2 / max(1 - beta2, 1e-6)
    return Cause("no_warmup", sure, tuple(evidence), f"warm the lr up over {steps_needed:.0f} steps (2 / (1 - beta2))")


class Surge(NamedTuple):
    """How the gradient's norm rose about the onset."""

    base: float  # its median before
    peak: float
    step: int  # the first above `HIGH` times the median
    climb: int  # steps since it was last below twice the median
    stays: float  # median of the steps after, over the median before


HIGH = 4.0
EXPLODED, CLIMB = 30.0, 12  # times the norm before, reached in as many steps or more


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
    after = norm[j + 1 : j + 11]
    finite = np.where(np.isfinite(after), after, np.inf)
    stays = float(np.median(finite) / base) if len(after) else np.inf
    peak = norm[j : j + 30]
    peak = peak[np.isfinite(peak)]
    return Surge(base, float(peak.max()) if len(peak) else np.inf, int(steps[j]), climb, stays)


def bad_batch(scene: Scene) -> Cause | None:
    rise = surge(scene)
    if rise is None or scene.onset is None:
        return None
    at = [e for e in scene.episodes if abs(e.step - rise.step) <= 1]
    if not at or (at[0].end - at[0].step > 3 and rise.stays > 0.5 * rise.peak / rise.base):
        return None
    if rise.climb > 2:
        return None
    alone = rise.stays < 0.35 * rise.peak / rise.base
    after = scene.values[(scene.steps > at[0].step) & (scene.steps <= at[0].step + 6)]
    back = len(after) > 0 and float(np.median(after)) < 0.4 * at[0].peak
    if not (alone and back):
        return None
    evidence = (
        f"at step {rise.step} alone the gradient's norm is {rise.peak:.3g}, {rise.peak / rise.base:.3g} medians",
        f"the loss of that batch is {at[0].peak:.3g} before any update by it, and {np.median(after):.3g} right after",
    )
    return Cause(
        "bad_batch", 0.93, evidence, f"look at that batch; clip the gradient's norm at {3 * rise.base:.2g} (3 medians)"
    )


def exploding_gradient(scene: Scene) -> Cause | None:
    if scene.onset is None:
        return None
    steps, norm = scene.tape.series("norm")
    if len(norm) < 4 * CLIMB:
        return None
    filled = np.where(np.isfinite(norm), norm, np.inf)
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(filled, 9), axis=1)  # i: around step i + 4
    i = int(np.clip(scene.onset - scene.tape.first - 4, 0, len(smooth) - 1))
    base = float(np.median(smooth[max(0, i - 80) : max(5, i - 20)]))
    began = np.flatnonzero(smooth[max(0, i - 60) :] > 3 * base) + max(0, i - 60)
    grown = np.flatnonzero(smooth > EXPLODED * base)
    grown = grown[grown >= i - 60]
    if not len(grown) or not len(began) or grown[0] - began[0] < CLIMB:
        return None
    start, end = int(steps[began[0] + 4]), int(steps[grown[0] + 4])
    ratio, when = scene.ratio(start - 120, start)
    if ratio > 1:
        return None
    largest = float(np.max(smooth[grown[0] :]))
    evidence = [
        f"the gradient's norm climbs without a jump from {base:.3g} to 3 times that by step {start} and "
        f"{EXPLODED:.0f} times by step {end}, at last to {largest:.3g}"
    ]
    if ratio == ratio:
        evidence.append(f"before that the curvature was {max(ratio, 0):.2g} of its limit (step {when})")
    return Cause(
        "exploding_gradient",
        0.9,
        tuple(evidence),
        f"what the model is fed or multiplies by grows: look there; clip the gradient's norm at {3 * base:.2g}",
    )


def v_lags(scene: Scene) -> Cause | None:
    rise = surge(scene)
    if rise is None or scene.onset is None or not scene.fact("adaptive"):
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


def unstable(scene: Scene) -> tuple[float, int, float] | None:
    """(curvature over its limit, when, sqrt(v_hat) over its largest) where the step is too large for the curvature."""
    if not scene.symptoms:
        return None
    ratio, when = scene.ratio(scene.tape.first + NEAR, scene.tape.last)
    if scene.onset is not None:
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


SMALL_V, SMALL_LOSS = 0.2, 0.03  # of the largest sqrt(v_hat), of the first loss


def _converged(scene: Scene, left: float) -> bool:
    """True if gradients had become small before it went wrong, so that eps and v's memory count."""
    if left < SMALL_V:
        return True
    before = scene.values[scene.steps < (scene.onset or np.inf)]
    return scene.tape.exact and len(before) > 0 and float(before.min()) < SMALL_LOSS * scene.start


def edge_of_stability(scene: Scene) -> Cause | None:
    found = unstable(scene)
    if found is None:
        return None
    ratio, when, left = found
    if _converged(scene, left) and scene.fact("adaptive"):
        return None
    lr = scene.most("lr", 0, np.inf)
    evidence = f"the curvature reaches {ratio:.3g} of the limit at step {when}, above which a step of this lr diverges"
    sure = 0.85 if ratio >= 1 else LIKELY
    return Cause("edge_of_stability", sure, (evidence,), f"lr = {lr / max(1.25 * ratio, 1.25):.2g}")


def _free_decay(scene: Scene) -> tuple[float, float]:
    """(the share of the steps before the onset in which v decayed freely, the lower quartile of the lag there)."""
    since = scene.onset if scene.onset is not None else scene.tape.last
    steps, roots = scene.tape.series("root_rms")
    inside = (steps >= since - 200) & (steps < since) & (roots > 0)
    beta2 = scene.fact("beta2", 0.999)
    if inside.sum() < 3 or not 0 < beta2 < 1:
        return np.nan, np.nan
    x, y = steps[inside], 2 * np.log(roots[inside])
    free = np.diff(y) < FREE * np.diff(x) * np.log(beta2)
    lags = scene.rows("lag", since - 200, since - 1)
    return float(np.sum(np.diff(x)[free]) / (x[-1] - x[0])), float(np.quantile(lags, 0.25)) if len(lags) else np.nan


FREE = 0.5  # of the rate at which v decays without gradients


def _eps_needed(scene: Scene, ratio: float, when: int) -> float:
    """The eps at which the curvature equals its limit if v is 0, for the median coordinate."""
    lr, rate = scene.middle("lr", when, when), scene.middle("effective_lr_50", when - scene.tape.every, when)
    return float(ratio * lr / rate) if rate > 0 else np.nan


def v_forgot(scene: Scene) -> Cause | None:
    found = unstable(scene)
    if found is None or not scene.fact("adaptive"):
        return None
    ratio, when, left = found
    free, lag = _free_decay(scene)
    if not _converged(scene, left) or not free > 0.35 or not lag < 0.45:
        return None
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
    if found is None or not scene.fact("adaptive"):
        return None
    ratio, when, left = found
    if not _converged(scene, left):
        return None
    eps = scene.fact("eps", 0.0)
    steps, step = scene.middle("step_rms", when - 50, when + 50), scene.middle("grad_norm", when - 50, when + 50)
    evidence = (
        f"gradients have fallen and sqrt(v_hat) with them, to {left:.2g} of its largest; updates are {steps:.2g} lr",
        f"eps = {eps:.1g} is too small to bound them: the curvature reaches {ratio:.3g} of the limit at step {when} "
        f"(norm of the gradient {step:.2g})",
    )
    change = f"eps = {_eps_needed(scene, ratio, when):.1g} (lr curvature (1 - beta1) / (2 (1 + beta1)))"
    return Cause("eps_too_small", 0.82 if ratio >= 1 else 0.6, evidence, change)


CHECKS: tuple[Callable[[Scene], Cause | None], ...] = (
    moments_lost,
    lr_jump,
    half_precision,
    dead_coordinates,
    weight_decay,
    no_warmup,
    bad_batch,
    exploding_gradient,
    v_lags,
    v_forgot,
    eps_too_small,
    edge_of_stability,
)
