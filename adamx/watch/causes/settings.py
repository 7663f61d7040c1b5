"""Causes that settings and the optimizer's state tell: lost moments, a jump of lr, few bits, dead parameters, decay."""

from __future__ import annotations

import numpy as np

from adamx.watch.causes.cause import CERTAIN, LIKELY, POSSIBLE, Cause, follows
from adamx.watch.scene import Scene

HALF = ("float16", "bfloat16")
FEW_ROWS = 3


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


PULL = 0.5  # the decay's part over that of the rest
SHRUNK, GROWN = 0.7, 2.0  # times the first weights; grown ones were thrown out, and decay brings them back


def weight_decay(scene: Scene) -> Cause | None:
    n, decay = scene.length, scene.fact("weight_decay")
    if not decay or n < FEW_ROWS * scene.tape.every:
        return None
    if not (scene.stalled or scene.risen or scene.end > 0.5 * scene.start):
        return None
    first, last = scene.tape.first, scene.tape.last
    early, late = scene.middle("decay", first, first + n / 4), scene.middle("decay", last - n / 2, last)
    weights, left = scene.middle("weight_rms", first, first + 4), scene.middle("weight_rms", last - n / 2, last)
    shrunk = left < SHRUNK * weights
    # weights that the decay has brought to 0 have no decay any more
    pull = float(np.fmax(early, late)) if shrunk else late
    if not pull >= PULL or scene.most("weight_rms", first, last) > GROWN * scene.untouched:
        return None
    evidence = [f"the decay's part is {pull:.2g} times as large as the rest of the {_decayed(scene)}"]
    if shrunk:
        evidence.append(f"the weights have shrunk from {weights:.2g} to {left:.2g} (root mean square)")
    sure = 0.95 if shrunk else 0.8
    return Cause("weight_decay", sure, tuple(evidence), f"weight_decay = {decay * 0.1 / pull:.1g}, a tenth of the rest")


def _decayed(scene: Scene) -> str:
    return "update" if scene.fact("decoupled") else "gradient"
