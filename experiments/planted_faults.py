"""Planted faults: trainings with one known fault each, and healthy ones, judged by `adamx.watch`.

    python experiments/planted_faults.py            the scored runs: 12 causes x 3 models x 5 seeds, as many healthy
    python experiments/planted_faults.py tune       the seeds and models that the rules were made on
    python experiments/planted_faults.py harm       what their faults do to the loss, beside the same without them

The digits of scikit-learn, torch on the CPU. A seed draws the optimizer, how strong the fault is and when it comes. The
rules of `adamx/watch/causes/` were tuned on the MLP and the CNN with seeds from 100; scored are seeds 0 to 4, and the
transformer was never tuned on. The verdict sees the tape alone.

A fault shows if the training with it ends at `SHOWS` times the loss of the same training without it, rises to that many
times its highest loss, or is as many times as restless in its second half. `harm` counts the trainings where it does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import sys
import time
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import adamx
from adamx.watch.verdict import CAUSES, judge

MODELS = ("mlp", "cnn", "transformer")
FAULTS = tuple(c for c in CAUSES if c not in ("healthy", "unknown"))
SHOWS = 1.5


class Block(nn.Module):
    """Rows of an image as eight tokens, one encoder layer, the mean of the tokens to ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, 16), nn.Parameter(0.1 * torch.randn(8, 16))
        self.first, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x.reshape(-1, 8, 8)) + self.place
        q, k, v = self.qkv(self.first(x)).reshape(-1, 8, 3, 2, 8).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(-1, 8, 16))
        return self.head((x + self.down(torch.relu(self.up(self.second(x))))).mean(1))


@cache
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """The digits: pixels from 0 to 1, and which digit it is."""
    found = load_digits()
    return torch.tensor(found.data / 16.0), torch.tensor(found.target)


def model_of(name: str) -> nn.Module:
    if name == "mlp":
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    if name == "cnn":
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 10)),
        )
    return Block()


class Plan:
    """A training: what the seed has drawn, and the fault in it."""

    def __init__(self, fault: str, model: str, seed: int) -> None:
        self.fault, self.model, self.seed = fault, model, seed
        self.draw = np.random.default_rng([seed, MODELS.index(model), sorted(CAUSES).index(fault)])
        self.steps, self.batch, self.samples, self.squares = 220, 64, 1797, False
        self.dtype, self.kind, self.schedule = torch.float32, "Adam", None
        self.options: dict = {"lr": 3e-3}
        self.planted = True
        self.at = int(self.draw.integers(90, 160))
        self.scale = self.pick(20.0, 40.0)

    def pick(self, *choices):
        return choices[int(self.draw.integers(len(choices)))]


def plan_of(fault: str, model: str, seed: int) -> Plan:
    p = Plan(fault, model, seed)
    adam = {"lr": p.pick(1e-3, 2e-3, 4e-3)}
    p.kind, p.options = p.pick("Adam", "AdamW"), adam
    if fault == "healthy":
        p.kind, p.options = p.pick(
            ("Adam", adam),
            ("Adam", {"lr": 2e-3, "betas": (0.9, 0.99)}),
            ("AdamW", {**adam, "weight_decay": 0.01}),
            ("AdamW", {"lr": 2e-3, "betas": (0.9, 0.95), "weight_decay": 0.1}),
            ("Adam", {"lr": 2e-3, "amsgrad": True}),
            ("NAdam", {"lr": 2e-3}),
            ("RAdam", {"lr": 2e-3}),
            ("Adamax", {"lr": 4e-3}),
            ("Adagrad", {"lr": 1e-2}),
            ("RMSprop", {"lr": 5e-4, "alpha": 0.9}),
            ("SGD", {"lr": p.pick(0.02, 0.05), "momentum": 0.9}),
            ("SGD", {"lr": 0.1}),
            ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
        )
        p.schedule = p.pick(None, None, "cosine", "steps", "warmup")
        p.batch = p.pick(32, 64, 64, 128, 1797)
        p.dtype = p.pick(torch.float32, torch.float32, torch.float64)
    elif fault == "eps_too_small":
        p.samples, p.batch, p.squares, p.steps = 64, 64, True, 500
        p.kind, p.options = p.pick(
            ("Adam", {"lr": p.pick(5e-3, 1e-2), "betas": (0.9, p.pick(0.9, 0.95)), "eps": p.pick(1e-8, 1e-12)}),
            ("RMSprop", {"lr": p.pick(1e-3, 2e-3), "alpha": 0.9, "eps": p.pick(1e-8, 1e-10)}),
        )
        p.schedule = "warmup"
    elif fault == "v_forgot":
        p.samples, p.batch, p.squares, p.steps = 32, 32, True, 700
        p.kind, p.options = "Adam", {"lr": p.pick(5e-3, 1e-2), "betas": (0.9, p.pick(0.99, 0.995)), "eps": 1e-12}
        p.schedule = "warmup"
    elif fault == "edge_of_stability":
        p.kind, p.options = p.pick(
            ("SGD", {"lr": p.pick(2.0, 4.0)}),
            ("SGD", {"lr": p.pick(0.5, 1.0), "momentum": 0.9}),
            ("Adam", {"lr": p.pick(0.3, 1.0)}),
            ("AdamW", {"lr": p.pick(0.3, 1.0), "betas": (0.9, 0.99)}),
        )
        p.schedule = "warmup"
    elif fault == "v_lags":
        p.options = {"lr": p.pick(5e-3, 1e-2), "betas": (0.9, 0.999)}
        p.scale = p.pick(6.0, 10.0)
    elif fault == "no_warmup":
        p.kind, p.options = p.pick(
            ("RMSprop", {"lr": p.pick(1e-2, 3e-2), "alpha": 0.999}), ("RMSprop", {"lr": 5e-2, "alpha": 0.99})
        )
    elif fault == "half_precision":
        p.dtype = p.pick(torch.bfloat16, torch.float16)
        bf16 = p.dtype == torch.bfloat16
        p.options = {"lr": p.pick(2e-5, 5e-5)} if bf16 else {"lr": 1e-3, "eps": 1e-8}
    elif fault == "bad_batch":
        p.kind, p.options = p.pick((p.kind, {"lr": 4e-3}), ("SGD", {"lr": 0.05, "momentum": 0.9}))
    elif fault == "exploding_gradient":
        p.kind, p.options = p.pick((p.kind, adam), ("SGD", {"lr": 0.02, "momentum": 0.9}))
        p.scale = p.pick(1.06, 1.1)
        p.at = int(p.draw.integers(90, 130))
    elif fault == "moments_lost":
        p.options = {"lr": p.pick(4e-3, 8e-3)}
    elif fault == "weight_decay":
        p.kind, p.options = p.pick(
            ("AdamW", {**adam, "weight_decay": p.pick(20.0, 50.0)}),
            ("Adam", {**adam, "weight_decay": p.pick(0.3, 1.0)}),
            ("SGD", {"lr": 0.05, "weight_decay": p.pick(0.3, 0.6)}),
        )
    elif fault == "lr_jump":
        p.kind, p.options = p.pick((p.kind, adam), ("SGD", {"lr": 0.05, "momentum": 0.9}))
        p.scale = p.pick(100.0, 300.0)
    return p


def without_fault(p: Plan) -> Plan:
    """The same training without its fault."""
    p.at, p.planted, options = p.steps + 1, False, p.options
    if p.fault == "eps_too_small":
        options["eps"] = 1e-3
    elif p.fault == "v_forgot":
        options["betas"] = (0.9, 0.9999)
    elif p.fault == "edge_of_stability":
        options["lr"] /= 30
    elif p.fault == "weight_decay":
        options["weight_decay"] = 0.0
    elif p.fault == "half_precision":
        p.dtype = torch.float32
    elif p.fault == "no_warmup":
        p.schedule = "corrected"  # as if RMSprop corrected v for its beginning at 0
    return p


def lr_factor(p: Plan, t: int) -> float:
    """The schedule's multiple of lr at step t, the first being 1."""
    if p.fault == "lr_jump" and t >= p.at:
        return p.scale
    if p.schedule == "corrected":
        return (1 - p.options["alpha"] ** t) ** 0.5
    if p.schedule == "cosine":
        return min(1.0, t / 20) * 0.5 * (1 + np.cos(np.pi * t / p.steps))
    if p.schedule == "warmup":
        return min(1.0, t / 20)
    if p.schedule == "steps":
        return 0.1 ** (t // 110)
    return 1.0


def spoil(p: Plan, net: nn.Module) -> None:
    """Plant the faults that a model has from the start."""
    if p.fault == "dead_coordinates" and p.planted:
        layer = {"mlp": lambda: net[2], "cnn": lambda: net[4], "transformer": lambda: net.up}[p.model]()
        with torch.no_grad():
            layer.bias -= p.pick(20.0, 50.0)


def reset(p: Plan, optimizer: torch.optim.Optimizer) -> None:
    """A restart that brings back the parameters and not the moments."""
    how = p.seed % 3
    if how == 0:
        optimizer.state.clear()
    elif how == 1:
        empty = type(optimizer)(optimizer.param_groups[0]["params"], **p.options)
        optimizer.load_state_dict(empty.state_dict())
    else:
        for state in optimizer.state.values():
            state["exp_avg"].zero_()
            state["exp_avg_sq"].zero_()


def train(p: Plan, closure: bool = True) -> adamx.watch.watch.Watch:
    torch.manual_seed(1000 * p.seed + MODELS.index(p.model))
    pixels, digits = data()
    x, y = pixels[: p.samples].to(p.dtype), digits[: p.samples]
    net = model_of(p.model).to(p.dtype)
    spoil(p, net)
    optimizer = getattr(torch.optim, p.kind)(net.parameters(), **p.options)
    base = p.options["lr"]
    order = torch.Generator().manual_seed(p.seed)
    bx, by = x, y

    def loss_of() -> torch.Tensor:
        out = net(bx)
        if p.squares:
            return ((out - F.one_hot(by, 10).to(out.dtype)) ** 2).mean()
        return F.cross_entropy(out, by)

    exact = p.batch >= p.samples
    with adamx.watch(optimizer, loss_of if closure else None, every=10, batch=0 if exact else p.batch) as w:
        for t in range(1, p.steps + 1):
            rows = torch.randint(p.samples, (p.batch,), generator=order) if not exact else slice(None)
            bx, by = x[rows], y[rows]
            if p.fault == "v_lags" and t >= p.at:
                bx, by = p.scale * bx.flip(1), (by + 3) % 10
            if p.fault == "bad_batch" and t == p.at:
                bx, by = p.scale * bx.flip(1), by[torch.randperm(len(by), generator=order)]
            if p.fault == "exploding_gradient" and t >= p.at:
                bx = bx * p.scale ** (t - p.at)
            if p.fault == "moments_lost" and t == p.at:
                reset(p, optimizer)
            for group in optimizer.param_groups:
                group["lr"] = base * lr_factor(p, t)
            optimizer.zero_grad()
            loss = loss_of()
            w.loss(loss)
            loss.backward()
            optimizer.step()
            if not np.isfinite(w.tape.loss[-1]) and t > 20:
                break
    return w


def one(job: tuple[str, str, int, str | None]) -> tuple[str, str, int, object]:
    fault, model, seed, folder = job
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    w = train(plan_of(fault, model, seed))
    w.tape.regime = w.regime
    if folder:
        Path(folder, f"{fault}-{model}-{seed}.pkl").write_bytes(pickle.dumps(w.tape))
    return fault, model, seed, judge(w.tape)


def harm(job: tuple[str, str, int, str | None]) -> np.ndarray:
    """How many times the loss without the fault: at the end, at its highest, and how restless it is."""
    fault, model, seed, _ = job
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = []
    for plan in (plan_of(fault, model, seed), without_fault(plan_of(fault, model, seed))):
        y = np.array(train(plan, closure=False).tape.loss)
        y = np.where(np.isfinite(y), y, np.inf)
        with np.errstate(all="ignore"):
            restless = np.abs(np.diff(np.log(np.maximum(y[len(y) // 2 :], 1e-30)))).mean()
        found.append((np.median(y[-max(10, len(y) // 10) :]), y[1:].max(), restless))
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.divide(*found), nan=1.0)


def harms(jobs: list[tuple[str, str, int, str | None]], found: list[np.ndarray]) -> str:
    """A row a fault: in how many trainings it shows, and the median of each figure."""
    rows = [f"{'planted':20}{'shows':>10}{'end x':>10}{'highest x':>10}{'restless x':>11}"]
    for fault in FAULTS:
        of = np.array([f for (name, *_), f in zip(jobs, found, strict=True) if name == fault])
        if len(of):
            shown, middle = int((of.max(axis=1) >= SHOWS).sum()), np.median(of, axis=0)
            rows.append(f"{fault:20}{f'{shown}/{len(of)}':>10}{middle[0]:10.3g}{middle[1]:10.3g}{middle[2]:11.3g}")
    return "\n".join(rows)


def matrix(found: list[tuple[str, str, int, object]]) -> str:
    """Rows: what was planted; columns: what was named first."""
    counts = Counter((fault, v.cause) for fault, _, _, v in found)
    named = [c for c in CAUSES if any(c == cause for _, cause in counts)]
    rows = [f"{'planted':20}" + "".join(f"{c[:9]:>10}" for c in named)]
    for fault in CAUSES:
        if any(fault == f for f, *_ in found):
            rows.append(f"{fault:20}" + "".join(f"{counts[fault, c] or '.':>10}" for c in named))
    return "\n".join(rows)


def score(found: list[tuple[str, str, int, object]]) -> str:
    planted = [(f, v.cause) for f, _, _, v in found if f != "healthy"]
    healthy = [v.cause for f, _, _, v in found if f == "healthy"]
    right = sum(f == c for f, c in planted)
    lines = [f"planted causes named first: {right} of {len(planted)} ({right / max(1, len(planted)):.1%})"]
    for model in MODELS:
        some = [(f, v.cause) for f, m, _, v in found if f != "healthy" and m == model]
        if some:
            lines.append(f"  {model}: {sum(f == c for f, c in some)} of {len(some)}")
    well = sum(c == "healthy" for c in healthy)
    lines.append(f"healthy called healthy: {well} of {len(healthy)} ({well / max(1, len(healthy)):.1%})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="score", choices=("score", "tune", "harm"))
    parser.add_argument("--only", nargs="*", default=[], help="these causes alone")
    parser.add_argument("--keep", help="a folder for the tapes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    typed = parser.parse_args()
    tune = typed.what != "score"
    models, first = (MODELS[:2], 100) if tune else (MODELS, 0)
    causes = typed.only or [*FAULTS, *(["healthy"] if typed.what != "harm" else [])]
    jobs = []
    for fault in causes:
        times = len(FAULTS) if fault == "healthy" else 1
        for model in models:
            jobs += [(fault, model, first + s, typed.keep) for s in range(typed.seeds * times)]
    start = time.time()
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(typed.processes) as pool:
        if typed.what == "harm":
            return print(harms(jobs, pool.map(harm, jobs, chunksize=1)))
        found = pool.map(one, jobs, chunksize=1)
    for fault, model, seed, v in found:
        if v.cause != fault:
            print(f"{fault} {model} {seed}: {v.cause} {[(c.name, round(c.sure, 2)) for c in v.causes[:3]]}")
    print(matrix(found))
    print(score(found))
    print(f"{len(found)} runs in {time.time() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
