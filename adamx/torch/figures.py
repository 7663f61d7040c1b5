"""Figures: what one step did to parameters, summed in one pass over gradients, parameters and state.

On the CPU in float32, float64, bfloat16 and float16 the pass is a Numba kernel over all tensors at once, in tiles, that
allocates nothing of their size. Elsewhere (another device, mixed dtypes, strides) the same sums are torch's own
operations, a tensor at a time. `formulas` has the equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import isqrt
from types import SimpleNamespace
from typing import Any, NamedTuple

import numba
import numpy as np
import torch

from adamx.engine.stepper.tensors import memory
from adamx.portable import portable
from adamx.portable.cache import cached
from adamx.portable.precision import NEAREST
from adamx.torch import threads
from adamx.torch.formulas import NUMBERS, Formula, scales

TILE = 4096
SAMPLE = 16_384  # coordinates whose effective lr is kept, evenly spread: exact quantiles of models up to that size
KEPT = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}
BITS = {"bfloat16": np.int16, "float16": np.int16}


class Sums(NamedTuple):
    """Of the coordinates of one tensor; `largest` is a maximum."""

    g2: Any  # sum of g^2
    nonfinite: Any  # gradients that are NaN or infinite
    zero: Any  # gradients that are 0
    step2: Any  # sum of (move / lr)^2
    core2: Any  # the same without decoupled weight decay
    x2: Any  # sum of x^2
    root2: Any  # sum of root^2
    below: Any  # root < eps
    lag: Any  # sum of g^2 / max(root^2, eps^2)
    lost: Any  # moves, not 0, that the parameter's dtype rounds away
    dead: Any  # gradient 0 and never another: v (without one: m) is 0 too
    largest: Any  # largest |move| / lr


@portable
def from_bfloat16(bits):
    return np.int32(np.int32(bits) << np.int32(16)).view(np.float32)


@portable
def from_float16(bits):
    """A float16 by its bits: 2^112 puts its exponent into float32's range, the smallest numbers too."""
    b = np.int32(bits)
    size = np.int32((b & np.int32(0x7FFF)) << np.int32(13)).view(np.float32) * np.float32(2.0**112)
    size = size if (b & np.int32(0x7C00)) != np.int32(0x7C00) else size * np.float32(np.inf)
    size = size if (b & np.int32(0x7FFF)) <= np.int32(0x7C00) else np.float32(np.nan)
    return -size if bits < 0 else size


@portable
def itself(x):
    return x


READ = {"bfloat16": from_bfloat16, "float16": from_float16}


@cache
def kernel(kind: str, dtype: str) -> Any:
    """(memory, tiles, table, numbers, lr, stride, out, rates): the sums of every tile, and the sampled rates."""
    load, keep = READ.get(dtype, itself), NEAREST.get(dtype, itself)
    real: Any = np.float64 if dtype == "float64" else np.float32
    whole: Any = np.int64 if dtype == "float64" else np.int32
    unsigned = np.iinfo(whole).max
    tiny = real(np.finfo(real).tiny)  # 0 / tiny is 0, where 0 / 0 would not be
    plain, kept = kind == "plain", kind.startswith("kept")
    centered, largest_norm, delta = kind.endswith("centered"), kind == "largest", kind == "delta"

    def figures(memory, tiles, table, numbers, lr, out, rates):
        for tile in numba.prange(len(tiles)):
            tensor, first, count, slot, stride, phase = tiles[tile]
            start = table[tensor] + first
            at_x, at_g, at_m = np.uint64(start[0]), np.uint64(start[1]), np.uint64(start[2])
            at_v, at_w = np.uint64(start[3]), np.uint64(start[4])
            n = numbers[tensor]
            a, b, c, eps, scale = real(n[0]), real(n[1]), real(n[2]), real(n[3]), real(n[4])
            coupled, decoupled, ratio, sign, inverse = real(n[5]), real(n[6]), real(n[7]), real(n[8]), real(n[11])
            rho, rate, eta = real(n[9]), real(n[7] * lr), real(lr)
            one, none, floor = real(1), real(0), eps * eps
            implicit, apart = b * coupled * rate, decoupled / (one - eta * decoupled)
            # one after another, so that every loop is vectorised: what a tile needs stays in the first cache
            steps, squares = np.empty(TILE, real), np.empty(TILE, real)
            patterns = steps.view(whole)
            core2 = 0.0
            for i in range(np.uint64(count)):
                x, g, m = load(memory[at_x + i]), load(memory[at_g + i]) * inverse, load(memory[at_m + i])
                v, w = load(memory[at_v + i]), load(memory[at_w + i])
                pushed = sign * g + coupled * x
                if plain:
                    square = none
                    core = (a * m + b * pushed) / (one - implicit)
                elif delta:
                    square = v
                    r = pushed * pushed / (v + eps)
                    before = (w - (one - rho) * eps * r) / (rho + (one - rho) * r)
                    core = pushed * np.sqrt((before if before > none else none) + eps) / np.sqrt(v + eps)
                else:
                    square = v * c - w * w if centered else v * c
                    root = square if largest_norm else np.sqrt(none if square < none else square)  # NaN stays NaN
                    square = root * root
                    core = m * a if kept else (a * m + b * pushed) / ((root + eps) * scale - implicit)
                core *= ratio
                steps[i] = core + apart * (x + eta * core)
                squares[i] = square
                core2 += np.float64(core) * np.float64(core)
            g2 = step2 = x2 = root2 = 0.0
            for i in range(np.uint64(count)):
                x, g, step = load(memory[at_x + i]), load(memory[at_g + i]) * inverse, steps[i]
                g2 += np.float64(g) * np.float64(g)
                step2 += np.float64(step) * np.float64(step)
                x2 += np.float64(x) * np.float64(x)
                root2 += np.float64(squares[i])
            lag = 0.0
            if not plain:
                for i in range(np.uint64(count)):
                    x, g = load(memory[at_x + i]), load(memory[at_g + i]) * inverse
                    pushed = np.float64(sign * g + coupled * x)
                    square = squares[i] if squares[i] > floor else floor
                    lag += pushed * pushed / np.float64(square if square > tiny else tiny)
            zero = below = lost = dead = finite = whole(0)
            most = whole(0)
            for i in range(np.uint64(count)):
                x, g, step = load(memory[at_x + i]), load(memory[at_g + i]) * inverse, steps[i]
                kept_by = load(memory[at_m + i]) if plain else load(memory[at_v + i])
                move = eta * step
                finite += whole(g - g == none)
                zero += whole(g == none)
                below += whole(squares[i] < floor)
                lost += whole((move != none) & (keep(x - move) == x))
                dead += whole((g == none) & (kept_by == none))
                bits = patterns[i] & unsigned  # ordered as the sizes are, and NaN above all
                most = bits if bits > most else most
            row = out[tile]
            row[0], row[1], row[2], row[3], row[4] = g2, count - finite, zero, step2, core2
            row[5], row[6], row[7], row[8], row[9], row[10] = x2, root2, below, lag, lost, dead
            patterns[0] = most
            row[11] = steps[0]
            for k in range(phase, count, stride):
                j = np.uint64(k)
                v, w = load(memory[at_v + j]), load(memory[at_w + j])
                if plain:
                    den = one
                elif delta:
                    den = np.sqrt(v + eps) / np.sqrt(w + eps)
                elif largest_norm:
                    den = v * c
                else:
                    den = (np.sqrt(squares[k]) + eps) * scale
                rates[slot + (k - phase) // stride] = rate / den

    # sums may be taken in any order; what assumes that numbers are finite stays off
    decorate = numba.njit(parallel=True, error_model="numpy", fastmath={"reassoc", "contract"})
    return cached(decorate, figures, f"watch_{kind}_{dtype}", kind, dtype)


class Part(NamedTuple):
    """Figures of one group's tensors: Sums with an array (tensors,) each, and effective rates of some coordinates."""

    sums: Sums
    rates: np.ndarray


def together(
    params: Sequence[Any], grads: Sequence[Any], formulas: Sequence[Formula], lr: float, inverse: float
) -> Part:
    """The figures of one group's tensors, in their order; gradients are multiplied by `inverse` first."""
    total = sum(p.numel() for p in params)
    stride = max(1, -(-total // SAMPLE))
    sums = np.zeros((len(params), len(Sums._fields)))
    rates: list[np.ndarray] = []
    kinds: dict[tuple[str, str], list[int]] = {}
    for i, (p, g, f) in enumerate(zip(params, grads, formulas, strict=True)):
        if not p.numel():
            continue
        dtype = KEPT.get(p.dtype, "") if reachable(p, g, f) else ""
        kinds.setdefault((f.kind, dtype), []).append(i)
    for (kind, dtype), which in kinds.items():
        if dtype:
            some = [params[i] for i in which], [grads[i] for i in which], [formulas[i] for i in which]
            sums[which], found = _fused(kind, dtype, *some, lr, inverse, stride)
            rates.append(found)
        else:
            for i in which:
                found_sums, rate = tensorwise(params[i], grads[i], formulas[i], lr, inverse)
                sums[i] = found_sums
                rates.append(rate.reshape(-1)[::stride].double().cpu().numpy())
    return Part(Sums(*sums.T), np.concatenate(rates) if rates else np.zeros(0))


def reachable(p: Any, g: Any, f: Formula) -> bool:
    """True if the kernel can read a parameter, its gradient and its state: element i of each is the same coordinate."""
    tensors = [t for t in (p, g, f.m, f.v, f.w) if t is not None]
    return all(
        t.device.type == "cpu" and t.layout is torch.strided and t.dtype == p.dtype and t.is_contiguous()
        for t in tensors
    )


def _fused(
    kind: str, dtype: str, params: Any, grads: Any, formulas: Any, lr: float, inverse: float, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.array([p.numel() for p in params])
    tiles, slots = _tiles(tuple(sizes.tolist()), stride)
    address = np.array(
        [
            [(p if t is None else t).data_ptr() for t in (p, g, f.m, f.v, f.w)]
            for p, g, f in zip(params, grads, formulas, strict=True)
        ]
    )
    itemsize, stored = params[0].element_size(), BITS.get(dtype, dtype)
    base = int(address.min())
    span = int((address.max(axis=1) - base + itemsize * sizes).max()) // itemsize
    numbers = np.array([[*(getattr(f, name) for name in NUMBERS), inverse] for f in formulas], np.float64)
    # the row's order: a b c eps scale coupled decoupled ratio sign decay beta1 inverse
    out, rates = np.empty((len(tiles), len(Sums._fields))), np.empty(slots)
    everything = np.asarray(SimpleNamespace(__array_interface__=memory(base, span, stored)))
    with threads.kept():
        kernel(kind, dtype)(everything, tiles, (address - base) // itemsize, numbers, float(lr), out, rates)
    starts = np.searchsorted(tiles[:, 0], np.arange(len(sizes)))
    sums = np.add.reduceat(out, starts, axis=0)
    sums[:, -1] = np.maximum.reduceat(out[:, -1], starts)
    return sums, rates


@cache
def _tiles(sizes: tuple[int, ...], stride: int) -> tuple[np.ndarray, int]:
    """(tiles, 6) int64: tensor, first element, elements, first slot of its rates, stride and phase of the sample."""
    rows, slot, past = [], 0, 0
    for tensor, size in enumerate(sizes):
        for first in range(0, size, TILE):
            count = min(TILE, size - first)
            phase = -past % stride
            rows.append((tensor, first, count, slot, stride, phase))
            slot += len(range(phase, count, stride))
            past += count
    return np.array(rows, np.int64).reshape(-1, 6), slot


def tensorwise(p: Any, g: Any, f: Formula, lr: float, inverse: float) -> tuple[list[float], Any]:
    """The sums of one tensor and its effective rates, by torch's operations."""
    real = torch.float64 if p.dtype == torch.float64 else torch.float32
    x, gradient = p.detach().to(real), g.detach().to(real) * inverse
    state: list[Any] = [None if t is None else t.to(real) for t in (f.m, f.v, f.w)]
    m, v, w = state
    pushed, rate = f.sign * gradient + f.coupled * x, f.ratio * lr
    zero = torch.zeros_like(x)
    numerator = (0.0 if m is None else f.a * m) + f.b * pushed
    root, multiplier = scales(f, x)
    square = zero if root is None else root * root
    if f.kind == "delta":
        r = pushed * pushed / (v + f.eps)
        before = ((w - (1 - f.decay) * f.eps * r) / (f.decay + (1 - f.decay) * r)).clamp(min=0)
        core = pushed * (before + f.eps).sqrt() / (v + f.eps).sqrt()
    elif f.kind.startswith("kept"):
        core = m * f.a
    else:
        core = numerator / (1 / multiplier - f.b * f.coupled * rate)
    core = core * f.ratio
    step = core + f.decoupled * (x + lr * core) / (1 - lr * f.decoupled)
    return _summed(p, x, gradient, pushed, step, core, square, f, lr), rate * multiplier


def _summed(
    p: Any, x: Any, g: Any, pushed: Any, step: Any, core: Any, square: Any, f: Formula, lr: float
) -> list[float]:
    """Sums of one tensor, in one transfer from its device."""
    floor, kept, move = f.eps * f.eps, f.m if f.v is None else f.v, lr * step
    lag = torch.where(pushed == 0, torch.zeros_like(x), pushed.double() ** 2 / square.double().clamp(min=floor))
    still = (g == 0) & (kept == 0) if kept is not None else g == 0
    some = [
        (g.double() ** 2).sum(),
        (~torch.isfinite(g)).sum(),
        (g == 0).sum(),
        (step.double() ** 2).sum(),
        (core.double() ** 2).sum(),
        (x.double() ** 2).sum(),
        square.double().sum(),
        (square < floor).sum() if f.v is not None else torch.zeros((), device=x.device),
        lag.sum() if f.v is not None else torch.zeros((), device=x.device),
        ((move != 0) & ((x - move).to(p.dtype) == p.detach())).sum(),
        still.sum(),
        step.abs().max() if step.numel() else torch.zeros((), device=x.device),
    ]
    return torch.stack([s.double() for s in some]).tolist()


def measured(p: Any, before: Any, g: Any, root: Any, eps: float, lr: float, inverse: float) -> list[float]:
    """The sums of one tensor from a copy of it before the step: of an optimizer whose formula is not known.

    Args:
        root: sqrt(v_hat); None where it is not known.
    """
    real = torch.float64 if p.dtype == torch.float64 else torch.float32
    x, gradient = p.detach().to(real), g.detach().to(real) * inverse
    step = (before.to(real) - x) / lr if lr else torch.zeros_like(x)
    square = torch.zeros_like(x) if root is None else (root * root).to(real)
    f = Formula(v=root, eps=eps, kind="plain" if root is None else "root")
    sums = Sums(*_summed(p, x, gradient, gradient, step, step, square, f, lr))
    lost = ((before == p.detach()) & (gradient != 0)).sum() if lr else 0
    return list(sums._replace(lost=float(lost)))


@cache
def norm_kernel(dtype: str) -> Any:
    """(memory, tiles, at, out): the sum of squares of some tiles of gradients."""
    load = READ.get(dtype, itself)

    def norms(memory, tiles, at, out):
        for tile in range(len(tiles)):
            tensor, first, count = tiles[tile, 0], tiles[tile, 1], tiles[tile, 2]
            total = 0.0
            for i in range(first, first + count):
                g = np.float64(load(memory[np.uint64(at[tensor] + i)]))
                total += g * g
            out[tensor] += total

    decorate = numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
    return cached(decorate, norms, f"watch_norms_{dtype}", dtype)


GLANCE = 65_536  # gradients that are read at every step, evenly spread over the tensors


@cache
def _sampled_tiles(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The tiles that are read at every step, and the factor for each tensor's sum."""
    total, rows, read = sum(sizes), [], np.zeros(len(sizes))
    share = max(1, -(-total // GLANCE))
    for tensor, size in enumerate(sizes):
        left = max(-(-size // share), min(size, 16))
        pieces = 1 if left == size else max(1, isqrt(left // 64))  # whole, or apart from one another
        each = -(-left // pieces)
        for k in range(pieces):
            first = (size // pieces) * k
            count = min(each, size - first)
            rows.append((tensor, first, count))
            read[tensor] += count
    return np.array(rows, np.int64).reshape(-1, 3), np.array(sizes) / np.maximum(read, 1)


def glance(grads: Sequence[Any]) -> float:
    """The norm of all gradients together: exact up to `GLANCE` of them, beyond from an even sample of as many.

    Raises:
        ValueError: they are not of one dtype in C order in the CPU's memory.
    """
    dtype = grads[0].dtype
    if not all(g.dtype == dtype and g.is_cpu and g.is_contiguous() for g in grads):
        raise ValueError
    tiles, times = _sampled_tiles(tuple(g.numel() for g in grads))
    at = np.array([g.data_ptr() for g in grads])
    base, itemsize = int(at.min()), grads[0].element_size()
    span = (int(at.max()) - base) // itemsize + max(g.numel() for g in grads)
    name = KEPT[dtype]
    everything = np.asarray(SimpleNamespace(__array_interface__=memory(base, span, BITS.get(name, name))))
    out = np.zeros(len(grads))
    norm_kernel(name)(everything, tiles, (at - base) // itemsize, out)
    return float(np.sqrt(out @ times))
