"""The figures of other libraries that adamx' rules are held against: PyTorch and optax, in float64.

`python tests/helpers/peers.py` records them anew in peers.json beside it (needs the `peers` extra); the tests read that
file, and where the libraries are installed they are asked again.
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
    "adagrad": ("adagrad", {}, "torch", "Adagrad", {}),
    "adagrad other": (
        "adagrad", {"lr": 0.2, "eps": 1e-4, "initial_accumulator_value": 0.3, "lr_decay": 0.05},
        "torch", "Adagrad", {"lr": 0.2, "eps": 1e-4, "initial_accumulator_value": 0.3, "lr_decay": 0.05},
    ),
    "adagrad eps_root": (
        "adagrad", {"lr": 0.1, "eps": 0.0, "eps_root": 1e-5, "initial_accumulator_value": 0.1},
        "optax", "adagrad", {"learning_rate": 0.1, "eps": 1e-5, "initial_accumulator_value": 0.1},
    ),
    "adadelta": ("adadelta", {}, "torch", "Adadelta", {}),
    "adadelta other": (
        "adadelta", {"lr": 0.5, "beta2": 0.8, "eps": 1e-3},
        "optax", "adadelta", {"learning_rate": 0.5, "rho": 0.8, "eps": 1e-3},
    ),
    "adamax": ("adamax", {}, "torch", "Adamax", {}),
    "adamax other": (
        "adamax", {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 1e-3},
        "optax", "adamax", {"learning_rate": 0.05, "b1": 0.7, "b2": 0.9, "eps": 1e-3},
    ),
    "nadam": ("nadam", {}, "torch", "NAdam", {}),
    "nadam other": (
        "nadam", {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "momentum_decay": 0.1},
        "torch", "NAdam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "momentum_decay": 0.1},
    ),
    "nadam without warm-up": (
        "nadam", {"lr": 0.02, "eps": 1e-5, "eps_root": 1e-4, "momentum_decay": 1e6},
        "optax", "nadam", {"learning_rate": 0.02, "eps": 1e-5, "eps_root": 1e-4},
    ),
    "nadamw": (
        "nadamw", {"lr": 0.02, "weight_decay": 0.3},
        "torch", "NAdam", {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    "nadamw other": (
        "nadamw", {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-4, "eps_root": 1e-3, "momentum_decay": 1e6},
        "optax", "nadamw",
        {"learning_rate": 0.01, "b1": 0.8, "b2": 0.99, "eps": 1e-4, "eps_root": 1e-3, "weight_decay": 0.01},
    ),
    "nadamw schedule": (
        "nadamw", {"lr": 0.02, "beta1": 0.7, "eps": 1e-4, "momentum_decay": 0.02, "weight_decay": 0.1},
        "torch", "NAdam",
        {"lr": 0.02, "betas": (0.7, 0.999), "eps": 1e-4, "momentum_decay": 0.02, "weight_decay": 0.1,
         "decoupled_weight_decay": True},
    ),
    # PyTorch's eps stands elsewhere: one that only keeps 0/0 away
    "radam": ("radam", {"eps": 1e-300}, "torch", "RAdam", {"eps": 1e-300}),
    "radam other": (
        "radam", {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "eps_root": 1e-4, "threshold": 8.0},
        "optax", "radam",
        {"learning_rate": 0.02, "b1": 0.8, "b2": 0.9, "eps": 1e-3, "eps_root": 1e-4, "threshold": 8.0},
    ),
    "radam of the paper": (
        "radam", {"threshold": 4.0}, "optax", "radam", {"learning_rate": 0.001, "threshold": 4.0},
    ),
    "radam never adaptive": ("radam", {"beta2": 0.5}, "torch", "RAdam", {"betas": (0.9, 0.5)}),
    "yogi": (
        "yogi", {},
        "optax", "scale_by_yogi", {"lr": 0.01},
    ),
    "yogi other": (
        "yogi",
        {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "eps": 1e-5, "eps_root": 1e-4, "initial_accumulator_value": 0.1},
        "optax", "scale_by_yogi",
        {"lr": 0.05, "b1": 0.8, "b2": 0.95, "eps": 1e-5, "eps_root": 1e-4, "initial_accumulator_value": 0.1},
    ),
    "adabelief": ("adabelief", {}, "optax", "adabelief", {"learning_rate": 0.001}),
    "adabelief other": (
        "adabelief", {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "eps_root": 1e-5},
        "optax", "adabelief", {"learning_rate": 0.02, "b1": 0.8, "b2": 0.95, "eps": 1e-4, "eps_root": 1e-5},
    ),
    "rprop": ("rprop", {}, "torch", "Rprop", {}),
    "rprop other": (
        "rprop", {"lr": 0.1, "eta_minus": 0.7, "eta_plus": 1.1, "min_step_size": 1e-3, "max_step_size": 0.5},
        "torch", "Rprop", {"lr": 0.1, "etas": (0.7, 1.1), "step_sizes": (1e-3, 0.5)},
    ),
    "lamb": (
        "lamb", {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-4, "weight_decay": 0.2},
        "optax", "lamb", {"learning_rate": 0.01, "b1": 0.8, "b2": 0.99, "eps": 1e-4, "weight_decay": 0.2},
    ),
    "signum": ("signum", {"lr": 0.02, "momentum": 0.8}, "optax", "signum", {"learning_rate": 0.02, "beta": 0.8}),
    "sign descent": ("signum", {"lr": 0.02, "momentum": 0.0}, "optax", "sign_sgd", {"learning_rate": 0.02}),
    "lion": (
        "lion", {"lr": 0.02, "beta1": 0.7, "beta2": 0.95, "weight_decay": 0.3},
        "optax", "lion", {"learning_rate": 0.02, "b1": 0.7, "b2": 0.95, "weight_decay": 0.3},
    ),
    "adan": (
        "adan",  # beta2 = 1/2: elsewhere optax leaves the paper
        {"lr": 0.02, "beta1": 0.9, "beta2": 0.5, "beta3": 0.8, "eps": 1e-5, "eps_root": 1e-4, "weight_decay": 0.3},
        "optax", "adan",
        {"learning_rate": 0.02, "b1": 0.9, "b2": 0.5, "b3": 0.8, "eps": 1e-5, "eps_root": 1e-4, "weight_decay": 0.3},
    ),
    "adopt": ("adopt", {}, "optax", "adopt", {"learning_rate": 0.001}),
    "adopt unclipped": (
        "adopt", {"lr": 0.02, "beta1": 0.6, "beta2": 0.98, "eps": 1e-2, "clipping": False},
        "optax", "adopt", {"learning_rate": 0.02, "b1": 0.6, "b2": 0.98, "eps": 1e-2, "use_clipping": False},
    ),
    "ademamix": (
        "ademamix", {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "beta3": 0.99, "eps": 1e-5},
        "optax", "ademamix", {"learning_rate": 0.02, "b1": 0.8, "b2": 0.95, "b3": 0.99, "eps": 1e-5},
    ),
    "ademamix warm-up": (
        "ademamix",
        {
            "beta3": 0.99, "alpha": 3.0, "alpha_warmup": 90.0, "beta3_warmup": 150.0,
            "eps_root": 1e-4, "weight_decay": 0.3,
        },
        "optax", "ademamix",
        {
            "learning_rate": 0.001, "eps_root": 1e-4, "weight_decay": 0.3,
            "alpha": lambda count: 3.0 * min((int(count) + 1) / 90, 1),
            "b3": lambda count: slow_beta(int(count) + 1, 0.9, 0.99, 150),
        },
    ),
}  # fmt: skip


def slow_beta(t: int, beta1: float, beta3: float, steps: int) -> float:
    """AdEMAMix' beta3 at step t of its warm-up, as the paper writes it; in optax it is the caller's to give."""
    s, e, a = np.log(beta1), np.log(beta3), min(t / steps, 1)
    return min(float(np.exp(s * e / ((1 - a) * e + a * s))), beta3)


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

    torch.set_default_dtype(torch.float64)  # NAdam keeps its product of momenta in it
    x = torch.tensor(start(), requires_grad=True)
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
        elif optimizer == "scale_by_yogi":  # the part of optax.yogi that takes all of its arguments
            scaling = {k: v for k, v in arguments.items() if k != "lr"}
            peer = optax.chain(optax.scale_by_yogi(**scaling), optax.scale(-arguments["lr"]))
        else:
            peer = getattr(optax, optimizer, None) or getattr(optax.contrib, optimizer)
            peer = peer(**arguments)
        x = jax.numpy.asarray(start())
        state, points = peer.init(x), []
        if optimizer == "scale_by_yogi":  # optax starts m where v starts, the paper at 0
            state = (state[0]._replace(mu=0 * x), *state[1:])
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
