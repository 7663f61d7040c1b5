"""Predictions of theory: for which hyperparameters a minimum is stable, and how it is lost where it is not.

Near a minimum of curvature L the gradient vanishes, v forgets, and Adam's denominator sinks to its floor, eps. What
is left is momentum with the rate lr / eps, whose iterates shrink only below a limit. So the minimum is stable iff

    lr L / eps < 2 (1 + beta1) / (1 - beta1)        Adam: Cohen et al. 2022, arXiv 2207.14484, as v -> 0
    lr L / eps < 2 (1 + momentum)                   RMSprop: the same with heavy ball, Polyak 1964
    lr L < 2;  2 (1 + momentum);  2 (1 + momentum) / (1 + 2 momentum)       gradient descent, heavy ball, Nesterov

L is the largest eigenvalue of the Hessian there; lr is constant, and gradient noise far below eps. With hardly any eps
the minimum of a quadratic is not stable, and the betas say how it is lost (Tang et al. 2026); that of |x|^k, k > 2,
has no curvature, and without eps the betas alone say whether it is kept (Bai et al. 2026) and, where 1 - beta1 is
small, whether it is lost in spikes (Tang et al. 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from adamx.analysis.scales import Scale, short
from adamx.engine.results import Results
from adamx.optimizers import Stable, rule

TANG = "Tang, Chen & Liu 2026, arXiv 2609.18314"
BAI = "Bai et al. 2026, arXiv 2603.09581"

SPIKE_FACTOR, SPIKE_POWER = 15.6, 3.07  # fitted by Tang et al. at lr = 0.1, curvature 1, eps = 1e-30
SPIKE_BETA1 = 0.75  # below it, runs with and without spikes alternate along beta2 instead of parting at the law
TINY = 1.001e-3  # the largest eps / (lr L) that they found the law to hold for, and rounding
POWER_BETA1 = 0.97  # below it the border of spikes on |x|^k is off by more than a quarter
QUIET = 0.01  # gradient noise / eps* that does not move the threshold yet
INSIDE, OUTSIDE = 1.01, 1.1
POINTS = 256  # along each axis of a line

Named = Mapping[str, Any]  # settings or hyperparameters by name: numbers, or arrays that broadcast


def sharpness_limit(lr: Any, beta1: Any) -> Any:
    """The preconditioned sharpness above which Adam leaves a minimum: 38 / lr at beta1 = 0.9.

    Source: Cohen et al. 2022, arXiv 2207.14484: the largest eigenvalue of H / (sqrt(v_hat) + eps), at whose limit
    full-batch Adam trains.
    """
    return 2 * (1 + beta1) / ((1 - beta1) * lr)


def eps_threshold(lr: Any, beta1: Any, curvature: Any, weight_decay: Any = 0.0) -> Any:
    """eps*: the minimum is stable iff eps (outside the root) is larger; RMSprop: beta1 = 0.

    eps* = lr curvature (1 - beta1) / (2 (1 + beta1)); with AdamW's decay, 2 - lr weight_decay stands for the 2.
    Source: `adamx.optimizers.adamw`. Without decay it is `sharpness_limit` at v = 0.
    """
    return _bound("adamw", curvature, lr=lr, beta1=beta1, weight_decay=weight_decay)


def rmsprop_residual(lr: Any, eps: Any, curvature: Any) -> Any:
    """|x| of the 2-cycle that RMSprop ends in on curvature x^2 / 2: lr / 2 - eps / curvature; 0 from eps* on.

    Source: derived: on x, -x, x ... sqrt(v) is curvature |x|, and a step is 2 |x|.
    """
    return np.maximum(lr / 2 - eps / curvature, 0.0)


def first_step(lr: Any, beta1: Any, beta2: Any) -> Any:
    """|x_1 - x_0| of Adam without bias correction where eps does not count; RMSprop: beta1 = 0. With correction, lr.

    Source: m_1 / sqrt(v_1) = (1 - beta1) / sqrt(1 - beta2); Kingma & Ba 2014, arXiv 1412.6980, section 6.4.
    """
    return lr * (1 - beta1) / np.sqrt(1 - beta2)


def lr_limit(curvature: Any, momentum: Any = 0.0, nesterov: bool = False) -> Any:
    """The lr from which on heavy ball, or Nesterov's momentum, diverges on a quadratic; gradient descent: momentum = 0.

    Source: derived: z = -1 in the characteristic polynomial. Polyak 1964, Nesterov 1983.
    """
    return _bound("nesterov" if nesterov else "momentum", curvature, momentum=momentum)


def _bound(optimizer: str, curvature: Any, **hyper: Any) -> Any:
    """The bound within which a minimum is stable under a rule."""
    stable = rule(optimizer).stable
    assert stable is not None
    return stable.bound(hyper, curvature)


def spike_boundary(beta1: Any) -> Any:
    """The beta2 above which Adam with hardly any eps spikes on a quadratic: 1 - beta2 = 15.6 (1 - beta1)^3.07.

    Source: the fit of Tang, Chen & Liu 2026, arXiv 2609.18314, at lr = 0.1, curvature 1, eps = 1e-30.
    """
    return 1 - SPIKE_FACTOR * (1 - beta1) ** SPIKE_POWER


def power_boundary(beta2: Any, k: float) -> Any:
    """The beta1 below which Adam without eps keeps the minimum of |x|^k / k, k > 2.

    With 1 - beta1 and 1 - beta2 small it is 1 - beta2 < (1 - beta1) 2 (k - 2) / k.
    Source: Bai et al. 2026, arXiv 2603.09581.
    """
    return beta2 ** (k / (2 * (k - 2)))


def power_spikes(beta1: Any, k: float) -> Any:
    """The beta2 above which Adam without eps, where it does not keep the minimum of |x|^k / k, spikes.

    1 - beta2 = (1 - beta1) 12 (k - 2) / (3 k - 4), for small 1 - beta1.
    Source: Tang, Chen & Liu 2026, arXiv 2609.18314.
    Measured for k = 3, 4, 5, 6, 8, as a multiple of that 1 - beta2: spikes cease at 1.03 to 1.25 for 1 - beta1 = 0.003,
    at 1.00 to 1.10 for 0.01, at 0.88 to 1.08 for 0.03; for 0.1 below 0.8, where it is no border any more.
    """
    return 1 - 12 * (k - 2) / (3 * k - 4) * (1 - beta1)


def power_slope(beta2: Any, k: float) -> Any:
    """ln(loss) per step of Adam without eps on |x|^k / k where it is stable. Source: Bai et al. 2026."""
    return k * np.log(beta2) / (2 * (k - 2))


def curvature(problem: str, settings: Named) -> float | None:
    """The largest curvature at the minimum where the problem's settings say it, otherwise None."""
    if problem != "quadratic":
        return None
    each = np.asarray(settings["curvature"], dtype=np.float64)
    return float(each.max()) if each.min() >= 0 else None


class Law(NamedTuple):
    """A run is `what` if and only if the hyperparameter `name` is above or below (`sign`) a bound that the others set.

    Attributes:
        formula: the bound, to be read. bound: the same as a function of all hyperparameters.
        known: for which hyperparameters the law is known to hold.
    """

    what: str
    name: str
    sign: str
    formula: str
    source: str
    bound: Callable[[Named], Any]
    known: Callable[[Named], Any]

    @property
    def label(self) -> str:
        return f"{self.what} for {self.name} {self.sign} {self.formula}"


def laws(optimizer: str, problem: str, settings: Named, sharpness: float | None = None) -> list[Law]:
    """The known laws of an optimizer on a problem, that of the minimum's stability first; empty where none is known.

    Args:
        sharpness: the largest curvature at the minimum, for problems whose settings do not say it.
    """
    noise = float(settings.get("noise", 0.0))
    if (optimizer, problem) == ("adam", "power") and np.ndim(settings["k"]) == 0 and settings["k"] > 2 and noise == 0:
        return _power_laws(float(settings["k"]))
    L = curvature(problem, settings) if sharpness is None else sharpness
    of = rule(optimizer).stable
    if L is None or L <= 0 or of is None:
        return []
    stable = _stable_law(of, L, noise)
    return [stable, _spike_law(stable, L, noise)] if (optimizer, problem) == ("adam", "quadratic") else [stable]


def _stable_law(of: Stable, L: float, noise: float) -> Law:
    def known(h: Named) -> Any:
        quiet = noise <= QUIET * of.bound(h, L) if of.name == "eps" else True
        return quiet & (np.asarray(h.get("eps_root", 0)) == 0) & (np.asarray(h.get("ema", 0)) == 0)

    return Law("stable", of.name, of.sign, of.formula, of.source, lambda h: of.bound(h, L), known)


def _spike_law(stable: Law, L: float, noise: float) -> Law:
    """The law of spikes where eps is tiny, and too small for a stable minimum."""

    def known(h: Named) -> Any:
        hardly = (h["eps"] + noise <= TINY * h["lr"] * L) & (h["eps"] < stable.bound(h))
        return stable.known(h) & hardly & (h["beta1"] >= SPIKE_BETA1)

    formula = f"1 - {SPIKE_FACTOR} (1 - beta1)^{SPIKE_POWER}"
    return Law("spiking for ever", "beta2", ">", formula, TANG, lambda h: spike_boundary(h["beta1"]), known)


def _power_laws(k: float) -> list[Law]:
    def known(h: Named) -> Any:
        return (np.asarray(h["eps"]) == 0) & (np.asarray(h["eps_root"]) == 0)

    exponent = k / (2 * (k - 2))
    formula = "beta2" if exponent == 1 else f"beta2^{short(exponent)}"
    stable = Law("stable", "beta1", "<", formula, BAI, lambda h: power_boundary(h["beta2"], k), known)

    def near(h: Named) -> Any:
        return known(h) & (np.asarray(h["beta1"]) >= POWER_BETA1)

    formula = f"1 - {short(12 * (k - 2) / (3 * k - 4))} (1 - beta1)"
    what = "stable or spiking for ever"
    return [stable, Law(what, "beta2", ">", formula, TANG, lambda h: power_spikes(h["beta1"], k), near)]


class Line(NamedTuple):
    """A curve of a regime map: its values (points,) on both axes, what it separates, and who says so."""

    label: str
    x: np.ndarray
    y: np.ndarray
    source: str


def lines(
    optimizer: str, problem: str, settings: Named, x: Scale, y: Scale, fixed: Named, sharpness: float | None = None
) -> list[Line]:
    """The boundaries that theory draws into a regime map, inside the range of its axes; empty where none is known.

    Args:
        optimizer, problem, settings: as in `Results`. The lr must be constant.
        x, y: the axes of the map. fixed: all other hyperparameters; what is missing has the rule's default.
        sharpness: the largest curvature at the minimum, for problems whose settings do not say it.
    """
    known = laws(optimizer, problem, settings, sharpness)
    if not known:
        return []
    a, b = _dense(x), _dense(y)
    h = {**rule(optimizer).defaults, **fixed, x.name: _values(x, a)[:, None], y.name: _values(y, b)[None, :]}
    found = []
    for law in known:
        beyond = np.where(law.known(h), h[law.name] - law.bound(h), np.nan)
        beyond = np.broadcast_to(beyond, (POINTS, POINTS))
        upward, across = _crossings(beyond, b), _crossings(beyond.T, a)
        if np.isfinite(upward).sum() >= np.isfinite(across).sum():
            line = Line(law.label, _values(x, a), _values(y, upward), law.source)
        else:
            line = Line(law.label, _values(x, across), _values(y, b), law.source)
        there = np.isfinite(line.x) & np.isfinite(line.y)
        if there.sum() > 1:
            found.append(line._replace(x=line.x[there], y=line.y[there]))
    return found


def lines_of(results: Results, x: Scale, y: Scale, **fixed: float) -> list[Line]:
    """The boundaries in a map of results; none where their files or a schedule make of it something that is not known.

    Args:
        x, y: the axes. fixed: values of other hyperparameters; what is missing has that of the first run.
    """
    if results.files or results.schedule != "constant" or np.any(results.columns.get("lr_warmup", 0)):
        return []  # of a user's file nothing is known, whatever its name
    base = {name: values[0] for name, values in results.columns.items() if name != "seed"}
    held = {k: v for k, v in {**base, **fixed}.items() if k not in (x.name, y.name)}
    return lines(results.optimizer, results.problem, results.settings, x, y, held)


def _dense(axis: Scale) -> np.ndarray:
    """(POINTS,) places along the whole axis, without the zero of a log axis."""
    at = axis.place(axis.values[1:] if axis.has_zero else axis.values)
    return np.linspace(at[0], at[-1], POINTS)


def _values(axis: Scale, places: np.ndarray) -> np.ndarray:
    """The values at some places: the inverse of `Scale.place`."""
    return {"linear": lambda p: p, "log": lambda p: 10**p, "one-minus": lambda p: 1 - 10**-p}[axis.spacing](places)


def _crossings(beyond: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(rows,) where each row changes its sign, between the places `at` of its columns; NaN where it does not."""
    left, right = beyond[:, :-1], beyond[:, 1:]
    change = ((left <= 0) & (right > 0)) | ((left > 0) & (right <= 0))
    first = change.argmax(axis=1)
    row = np.arange(len(beyond))
    low, high = left[row, first], right[row, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = at[first] + (at[first + 1] - at[first]) * low / (low - high)
    return np.where(change.any(axis=1), inside, np.nan)


def bounds(
    optimizer: str, problem: str, settings: Named, hyper: Named, sharpness: float | None = None
) -> dict[str, list[float]]:
    """Values of hyperparameters beside what theory bounds them by for one run, by hyperparameter: 1 % inside, where the
    minimum is kept, and 10 % outside, since nearer to the bound a run is lost too slowly to tell.

    The arguments are those of `lines`.
    """
    found: dict[str, list[float]] = {}
    for law, bound, _ in _of_run(optimizer, problem, settings, hyper, sharpness):
        rate = law.name.startswith("beta")  # counted as 1 - beta, which falls as beta rises
        inside_is_more = ((law.sign == ">") != rate) == law.what.startswith("stable")
        factors = (INSIDE, 1 / OUTSIDE) if inside_is_more else (1 / INSIDE, OUTSIDE)
        beside = (1 - (1 - bound) * f if rate else bound * f for f in factors)
        found.setdefault(law.name, []).extend(beside)
    return found


def _of_run(
    optimizer: str, problem: str, settings: Named, hyper: Named, sharpness: float | None
) -> list[tuple[Law, float, float]]:
    """The laws that are known to hold for one run, each with its bound and the run's own value."""
    known = laws(optimizer, problem, settings, sharpness)
    h = {**rule(optimizer).defaults, **hyper} if known else {}
    return [(law, float(law.bound(h)), float(h[law.name])) for law in known if law.known(h)]


def prediction(
    optimizer: str, problem: str, settings: Named, hyper: Named, sharpness: float | None = None
) -> str | None:
    """A sentence with the prediction of theory for one run, or None. The arguments are those of `lines`."""
    clauses = [
        f"{law.what} only for {law.name} {law.sign} {short(bound)} (= {law.formula}), and {law.name} is {short(own)}"
        for law, bound, own in _of_run(optimizer, problem, settings, hyper, sharpness)
    ]
    return f"theory: near the minimum a run is {'; '.join(clauses)}" if clauses else None
