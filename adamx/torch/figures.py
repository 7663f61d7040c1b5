"""Figures: what one step did to parameters, summed in one pass over gradients, parameters and state.

On the CPU in float32, float64, bfloat16 and float16 the pass is a Numba kernel over all tensors at once, in tiles, that
allocates nothing of their size. Elsewhere (another device, mixed dtypes, strides) the same sums are torch's own
operations, a tensor at a time. `formulas` has the equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
import torch

from adamx.portable import inlined
from adamx.portable.cache import cached
from adamx.portable.precision import NEAREST
from adamx.torch import threads
from adamx.torch.formulas import NUMBERS, Formula
from adamx.torch.memory import KEPT, READ, at, everything, itself
from adamx.torch.operations import Sums, tensorwise

TILE, BLOCK = 4096, 512  # coordinates of a thread's piece of work, and of what stays in its first cache
SAMPLE = 4096  # coordinates whose effective lr is kept, evenly spread: exact quantiles of models up to that size
USUAL = 1e-30, 1e30  # a sum of squares in float32 that is outside is taken again in float64


def passes(kind: str, dtype: str, wide: Any) -> Any:
    """A block's sums of squares in the type `wide`, and its steps over lr: a function for the kernel."""
    load = READ.get(dtype, itself)
    real: Any = np.float64 if dtype == "float64" else np.float32
    count: Any = np.int64 if dtype == "float64" else np.int32
    tiny = real(np.finfo(real).tiny)  # 0 / tiny is 0, where 0 / 0 would not be
    plain, kept, copied = kind in ("plain", "copied"), kind.startswith("kept"), kind == "copied"
    centered, largest_norm, delta = kind.endswith("centered"), kind == "largest", kind == "delta"

    @inlined
    def block(memory, places, n, size, eta, steps):
        at_x, at_g, at_m, at_v, at_w = places
        a, b, c, eps, scale, coupled, decoupled, ratio, sign, rho, inverse = n
        one, none = real(1), real(0)
        least = eps if eps > tiny else tiny
        implicit, apart = b * coupled * ratio * eta, decoupled / (one - eta * decoupled)
        g2 = step2 = core2 = x2 = root2 = lag = wide(0)
        below = count(0)
        for i in range(size):
            x, g, m = load(memory[at_x + i]), load(memory[at_g + i]) * inverse, load(memory[at_m + i])
            v, w = load(memory[at_v + i]), load(memory[at_w + i])
            pushed = sign * g + coupled * x
            if copied:
                root, core = none, (m - x) * a
            elif plain:
                root, core = none, (a * m + b * pushed) / (one - implicit)
            elif delta:
                root = np.sqrt(v)
                r = pushed * pushed / (v + eps)
                before = (w - (one - rho) * eps * r) / (rho + (one - rho) * r)
                core = pushed * np.sqrt((before if before > none else none) + eps) / np.sqrt(v + eps)
            else:
                square = v * c - w * w if centered else v * c
                root = square if largest_norm else np.sqrt(none if square < none else square)  # NaN stays NaN
                core = m * a if kept else (a * m + b * pushed) / ((root + eps) * scale - implicit)
            core *= ratio
            step = core + apart * (x + eta * core)
            steps[i] = step
            g2 += wide(g) * wide(g)
            step2 += wide(step) * wide(step)
            core2 += wide(core) * wide(core)
            x2 += wide(x) * wide(x)
            if not plain:
                root2 += wide(root) * wide(root)
                behind = wide(pushed / (root if root > least else least))
                lag += behind * behind
                below += count(root < eps)
        return g2, step2, core2, x2, root2, lag, below

    return block


@cache
def kernel(kind: str, dtype: str) -> Any:
    """(memory, tiles, table of addresses, numbers, lr, out, rates): the sums of every tile, and the sampled rates.

    A block's sums are taken in float32, eight coordinates at a time, and once more in float64 where squares of such a
    size do not fit. A loop for the sums and one for the counts is what is vectorised best.
    """
    load, keep, index = READ.get(dtype, itself), NEAREST.get(dtype, itself), at(dtype)
    real: Any = np.float64 if dtype == "float64" else np.float32
    whole: Any = np.int64 if dtype == "float64" else np.int32
    unsigned = np.iinfo(whole).max
    plain, copied = kind in ("plain", "copied"), kind == "copied"
    centered, largest_norm, delta = kind.endswith("centered"), kind == "largest", kind == "delta"
    first_pass, exact = passes(kind, dtype, real), passes(kind, dtype, np.float64)
    narrow, (low, high) = dtype != "float64", USUAL

    def figures(memory, tiles, table, numbers, lr, out, rates):
        for tile in numba.prange(len(tiles)):
            tensor, first, count, slot, stride, phase = tiles[tile]
            n = numbers[tensor]
            a, b, c, eps, scale = real(n[0]), real(n[1]), real(n[2]), real(n[3]), real(n[4])
            coupled, decoupled, ratio, sign, rho = real(n[5]), real(n[6]), real(n[7]), real(n[8]), real(n[9])
            inverse, eta, none = real(n[11]), real(lr), real(0)
            given = a, b, c, eps, scale, coupled, decoupled, ratio, sign, rho, inverse
            steps = np.empty(BLOCK, real)
            patterns = steps.view(whole)
            g2 = step2 = core2 = x2 = root2 = lag = 0.0
            zero = below = lost = dead = finite = most = whole(0)
            for begin in range(0, count, BLOCK):
                size = np.uint64(min(BLOCK, count - begin))
                skip, row = np.uint64(first + begin), table[tensor]
                at_x, at_g, at_m = index(row[0]) + skip, index(row[1]) + skip, index(row[2]) + skip
                at_v, at_w = index(row[3]) + skip, index(row[4]) + skip
                places = at_x, at_g, at_m, at_v, at_w
                one_g2, one_step2, one_core2, one_x2, one_root2, one_lag, one_below = first_pass(
                    memory, places, given, size, eta, steps
                )
                s1, s2, s3, s4, s5, s6 = (
                    np.float64(one_g2),
                    np.float64(one_step2),
                    np.float64(one_core2),
                    np.float64(one_x2),
                    np.float64(one_root2),
                    np.float64(one_lag),
                )
                least = min(min(s1, s2), min(s3, s4))
                largest = max(max(s1, s2), max(s3, s4))
                if not plain:
                    least, largest = min(least, min(s5, s6)), max(largest, max(s5, s6))
                if narrow and not (low < least and largest < high):
                    s1, s2, s3, s4, s5, s6, one_below = exact(memory, places, given, size, eta, steps)
                g2, step2, core2, x2, root2, lag = g2 + s1, step2 + s2, core2 + s3, x2 + s4, root2 + s5, lag + s6
                below += one_below
                for i in range(size):
                    x, g, step = load(memory[at_x + i]), load(memory[at_g + i]) * inverse, steps[i]
                    kept_by = load(memory[at_m + i]) if plain else load(memory[at_v + i])
                    move = eta * step
                    finite += whole(g - g == none)
                    zero += whole(g == none)
                    if copied:
                        lost += whole((kept_by == x) & (g != none))
                        dead += whole(g == none)
                    else:
                        lost += whole((move != none) & (keep(x - move) == x))
                        dead += whole((g == none) & (kept_by == none))
                    bits = patterns[i] & unsigned  # ordered as the sizes are, and NaN above all
                    most = bits if bits > most else most
            sums = out[tile]
            sums[0], sums[1], sums[2], sums[3], sums[4] = g2, count - finite, zero, step2, core2
            sums[5], sums[6], sums[7], sums[8], sums[9], sums[10] = x2, root2, below, lag, lost, dead
            patterns[0] = most
            sums[11] = steps[0]
            at_v, at_w = index(table[tensor, 3]) + np.uint64(first), index(table[tensor, 4]) + np.uint64(first)
            for k in range(phase, count, stride):
                j = np.uint64(k)
                v, w = load(memory[at_v + j]), load(memory[at_w + j])
                if copied:
                    den = real(np.nan)
                elif plain:
                    den = real(1)
                elif delta:
                    den = np.sqrt(v + eps) / np.sqrt(w + eps)
                elif largest_norm:
                    den = v * c
                else:
                    square = v * c - w * w if centered else v * c
                    den = (np.sqrt(none if square < none else square) + eps) * scale
                rates[slot + (k - phase) // stride] = ratio * eta / den

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
    return Part(Sums(*sums.T), rates[0] if len(rates) == 1 else np.concatenate([np.zeros(0), *rates]))


def reachable(p: Any, g: Any, f: Formula) -> bool:
    """True if the kernel can read a parameter, its gradient and its state: element i of each is the same coordinate."""
    dtype = p.dtype
    return all(
        t is None or (t.is_cpu and t.dtype is dtype and t.layout is torch.strided and t.is_contiguous())
        for t in (p, g, f.m, f.v, f.w)
    )


def _fused(
    kind: str, dtype: str, params: Any, grads: Any, formulas: Any, lr: float, inverse: float, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    tiles, slots, starts = _tiles(tuple([p.numel() for p in params]), stride)
    rows = zip(params, grads, formulas, strict=True)
    tensors = [p if t is None else t for p, g, f in rows for t in (p, g, f.m, f.v, f.w)]
    table = np.array([t.data_ptr() for t in tensors]).reshape(-1, 5)
    numbers = np.array([(*f[-len(NUMBERS) :], inverse) for f in formulas], np.float64)
    # the row's order: a b c eps scale coupled decoupled ratio sign decay beta1 inverse
    out, rates = np.empty((len(tiles), len(Sums._fields))), np.empty(slots)
    with threads.kept():
        kernel(kind, dtype)(everything(dtype), tiles, table, numbers, float(lr), out, rates)
    sums = np.add.reduceat(out, starts, axis=0)
    sums[:, -1] = np.maximum.reduceat(out[:, -1], starts)
    return sums, rates


@cache
def _tiles(sizes: tuple[int, ...], stride: int) -> tuple[np.ndarray, int, np.ndarray]:
    """(tiles, 6) int64: tensor, first element, elements, first slot of its rates, stride and phase of the sample; how
    many slots there are; and the first tile of every tensor."""
    rows, slot, past = [], 0, 0
    for tensor, size in enumerate(sizes):
        for first in range(0, size, TILE):
            count = min(TILE, size - first)
            phase = -past % stride
            rows.append((tensor, first, count, slot, stride, phase))
            slot += len(range(phase, count, stride))
            past += count
    tiles = np.array(rows, np.int64).reshape(-1, 6)
    return tiles, slot, np.searchsorted(tiles[:, 0], np.arange(len(sizes)))
