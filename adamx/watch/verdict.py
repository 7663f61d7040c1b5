"""Verdict: from a tape, what is wrong with a training; the causes ranked, with their evidence."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from adamx.watch.causes import CHECKS, POSSIBLE, Cause
from adamx.watch.scene import FEW, Scene
from adamx.watch.tape import Tape

CAUSES = ("healthy", "unknown", *(check.__name__ for check in CHECKS))
IN_WORDS = {
    "eps_too_small": "eps is too small for the curvature",
    "v_forgot": "v has forgotten the gradients it saw",
    "edge_of_stability": "lr is at or over the edge of stability",
    "v_lags": "v lags behind gradients that have grown",
    "no_warmup": "the first steps are too large: a warm-up or the bias correction is missing",
    "half_precision": "16 bits are too few for eps, v or the updates",
    "bad_batch": "one bad batch",
    "exploding_gradient": "the gradient explodes before anything of the optimizer's does",
    "moments_lost": "the optimizer's moments were lost",
    "weight_decay": "weight decay outweighs the gradient",
    "lr_jump": "the lr schedule jumps",
    "dead_coordinates": "parameters are dead: they get no gradient",
}
WIDTH = 100


@dataclass(frozen=True)
class Verdict:
    """The verdict on a training.

    Attributes:
        cause: `healthy`, `unknown`, or the first of the causes. causes: all that have evidence, surest first.
        symptoms: what is wrong with the loss, in words; none where it is healthy.
        notes: what the reader must know. regime: of the loss, None where it was not told.
    """

    cause: str
    causes: tuple[Cause, ...] = ()
    symptoms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    regime: str | None = None

    @property
    def sentences(self) -> list[str]:
        """The verdict in plain sentences."""
        said = []
        if self.symptoms:
            said.append(_sentence("; ".join(self.symptoms)))
        if self.cause == "healthy":
            said.append("Healthy: nothing is out of line.")
        elif self.cause == "unknown":
            said.append("I cannot tell why." if self.symptoms else "I cannot tell: too little was seen.")
        for i, cause in enumerate(self.causes):
            how = "Almost certainly" if cause.sure >= 0.85 else "Probably" if cause.sure >= 0.6 else "Possibly"
            how = (
                how if i == 0 and self.cause == cause.name else "Also possible" if cause.sure >= 0.6 else "Less likely"
            )
            said.append(f"{how}: {IN_WORDS[cause.name]}. {_sentence('; '.join(cause.evidence))}")
            said.append(f"Smallest change: {cause.change}.")
        return [*said, *self.notes]

    def __str__(self) -> str:
        return textwrap.fill(" ".join(self.sentences), WIDTH, break_long_words=False, break_on_hyphens=False)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def judge(tape: Tape) -> Verdict:
    """The verdict on a tape."""
    scene = Scene(tape)
    notes = list(tape.notes)
    skipped = sum(e.kind == "skipped" for e in tape.events)
    if skipped:
        notes.append(f"GradScaler skipped {skipped} step{'s' * (skipped > 1)}.")
    if not scene.has_loss:
        notes.append("No loss was told (w.loss(loss)): only the gradient's norm says whether anything is wrong.")
    if scene.broken is None and (scene.length < FEW or not len(scene.values)):
        return Verdict("unknown", notes=tuple(notes), regime=tape.regime)
    causes = sorted((c for check in CHECKS if (c := check(scene))), key=lambda c: -c.sure)
    symptoms = tuple(scene.symptoms)
    named = [c.name for c in causes if c.sure >= POSSIBLE]
    name = named[0] if named else "unknown" if symptoms else "healthy"
    if name == "unknown" and scene.flat:
        notes.append("Whether a smaller loss can be reached is not known here.")
    return Verdict(name, tuple(causes), symptoms, tuple(notes), tape.regime)
