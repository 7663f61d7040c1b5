"""The figures of other libraries that adamx' rules are held against: PyTorch and optax, in float64.

`python tests/peers.py` records them anew in tests/peers.json (needs the `peers` extra); the tests read that file, and
where the libraries are installed they are asked again.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".json")
STEPS = 200
KEEP = slice(4, None, 13)  # the steps whose points are recorded
KINDS = ("normal", "tiny", "huge", "sparse", "constant", "alternating", "growing", "zero")

# name: (rule, its hyperparameters, library, optimizer there, its arguments)
CASES = {
    "sgd": ("sgd", {"lr": 0.05}, "torch", "SGD", {"lr": 0.05}),
    "heavy ball": ("momentum", {"lr": 0.01, "momentum": 0.9}, "torch", "SGD", {"lr": 0.01, "momentum": 0.9}),
    "ema": ("momentum", {"lr": 0.01, "momentum": 0.8, "ema": True}, "optax", "ema", {"lr": 0.01, "decay": 0.8}),
    "nesterov": (
        "nesterov", {"lr": 0.01, "momentum": 0.95},
        "torch", "SGD", {"lr": 0.01, "momentum": 0.95, "nesterov": True},
    ),
    "rmsprop": (
        "rmsprop", {"lr": 0.01, "beta2": 0.9, "eps": 1e-6},
        "torch", "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-6},
    ),
    "rmsprop momentum": (
        "rmsprop", {"lr": 0.01, "momentum": 0.7},
        "torch", "RMSprop", {"lr": 0.01, "momentum": 0.7},
    ),
    "rmsprop centered": (
        "rmsprop", {"lr": 0.01, "beta2": 0.95, "centered": True, "momentum": 0.5},
        "torch", "RMSprop", {"lr": 0.01, "alpha": 0.95, "centered": True, "momentum": 0.5},
    ),
    "adam": ("adam", {}, "torch", "Adam", {}),
    "adam other": (
        "adam", {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
        "torch", "Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    ),
    "adam no memory": (
        "adam", {"lr": 0.1, "beta1": 0.0, "beta2": 0.0, "eps": 0.1},
        "torch", "Adam", {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.1},
    ),
    "adam eps_root": (
        "adam", {"lr": 0.02, "eps": 1e-5, "eps_root": 1e-4},
        "optax", "adam", {"learning_rate": 0.02, "eps": 1e-5, "eps_root": 1e-4},
    ),
    "adamw": ("adamw", {"lr": 0.02, "weight_decay": 0.3}, "torch", "AdamW", {"lr": 0.02, "weight_decay": 0.3}),
    "amsgrad": (
        "amsgrad", {"lr": 0.02, "beta2": 0.8}, "torch", "Adam", {"lr": 0.02, "betas": (0.9, 0.8), "amsgrad": True},
    ),
    "lamb": (
        "lamb", {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-4, "weight_decay": 0.2},
        "optax", "lamb", {"learning_rate": 0.01, "b1": 0.8, "b2": 0.99, "eps": 1e-4, "weight_decay": 0.2},
    ),
}  # fmt: skip


def gradients() -> np.ndarray:
    """(STEPS, kinds) a stream of every kind."""
    g = np.random.default_rng(0).standard_normal((STEPS, len(KINDS)))
    t = np.arange(STEPS)
    g[:, 1] *= 1e-9
    g[:, 2] *= 1e9
    g[:, 3] *= t % 5 == 0
    g[:, 4] = 0.3
    g[:, 5] = np.where(t % 2, 1.0, -1.0)
    g[:, 6] *= np.exp(t / 20)
    g[:, 7] = 0
    return g


def start() -> np.ndarray:
    return np.linspace(-1.5, 2.0, len(KINDS))


def by_torch(optimizer: str, arguments: dict) -> np.ndarray:
    """(STEPS, kinds) the points after every step."""
    import torch

    x = torch.tensor(start(), dtype=torch.float64, requires_grad=True)
    peer = getattr(torch.optim, optimizer)([x], **arguments)
    points = []
    for g in gradients():
        x.grad = torch.tensor(g)
        peer.step()
        points.append(x.detach().numpy().copy())
    return np.array(points)


def by_optax(optimizer: str, arguments: dict) -> np.ndarray:
    """(STEPS, kinds) the points after every step."""
    import jax
    import optax

    with jax.enable_x64(True):
        if optimizer == "ema":
            peer = optax.chain(optax.ema(arguments["decay"], debias=False), optax.scale(-arguments["lr"]))
        else:
            peer = getattr(optax, optimizer)(**arguments)
        x = jax.numpy.asarray(start())
        state, points = peer.init(x), []
        for g in gradients():
            move, state = peer.update(jax.numpy.asarray(g), state, x)
            x = optax.apply_updates(x, move)
            points.append(np.asarray(x))
    return np.array(points)


def ask(name: str) -> np.ndarray:
    """The points of one case, from the library itself."""
    _, _, library, optimizer, arguments = CASES[name]
    return {"torch": by_torch, "optax": by_optax}[library](optimizer, arguments)[KEEP]


def recorded() -> dict[str, np.ndarray]:
    return {name: np.array(points) for name, points in json.loads(FILE.read_text())["points"].items()}


def installed(name: str) -> bool:
    return find_spec(CASES[name][2]) is not None


if __name__ == "__main__":
    points = {name: ask(name).tolist() for name in CASES if installed(name)}
    if "--print" in sys.argv:  # for the tests: jax's threads stay out of their process
        print(json.dumps(points))
    else:
        versions = {library: version(library) for library in ("torch", "optax", "jax", "numpy")}
        FILE.write_text(json.dumps({"versions": versions, "points": points}) + "\n")
        print(f"recorded {len(points)} cases with {versions}")
