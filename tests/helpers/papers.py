"""Slow, obvious oracles from the papers' pseudo-code, for rules that neither PyTorch nor optax has.

A function takes gradients (steps, coordinates), a start (coordinates,) and hyperparameters, and gives (steps,
coordinates) the point after each step.
"""

import numpy as np


def stable_adamw(g, x, lr, beta1, beta2, eps, weight_decay):
    """Wortsman et al. 2023, algorithm 2, with the paper's debiased betas."""
    v, u, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        b1 = beta1 * (1 - beta1 ** (t - 1)) / (1 - beta1**t)
        b2 = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
        v = b1 * v + (1 - b1) * gt
        u = b2 * u + (1 - b2) * gt**2
        rms = np.sqrt(np.mean(gt**2 / np.maximum(u, eps**2)))
        rate = lr / max(1.0, rms)
        x = x - rate * weight_decay * x - rate * v / (np.sqrt(u) + eps)
        points.append(x)
    return np.array(points)


def avagrad(g, x, lr, beta1, beta2, eps):
    """Savarese et al. 2019, algorithm 2."""
    m, v, points = np.zeros_like(x), np.zeros_like(x), []
    for gt in g:
        m = beta1 * m + (1 - beta1) * gt
        eta = 1 / (np.sqrt(v) + eps)
        x = x - lr * eta / np.linalg.norm(eta / np.sqrt(len(x))) * m
        v = beta2 * v + (1 - beta2) * gt**2
        points.append(x)
    return np.array(points)


def spam(g, x, lr, beta1, beta2, eps, threshold, interval, warmup):
    """Huang et al. 2025, algorithm 1; coordinates without memory are not clipped."""
    m, v, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g):
        since = t % int(interval)
        if since == 0:
            m, v = np.zeros_like(x), np.zeros_like(x)
        clipped = np.where((gt**2 > threshold * v) & (v > 0), np.sign(gt) * np.sqrt(threshold * v), gt)
        m = beta1 * m + (1 - beta1) * clipped
        v = beta2 * v + (1 - beta2) * clipped**2
        rate = lr * (1 - np.cos(np.pi * since / warmup)) / 2 if t >= interval and since < warmup else lr
        m_hat, v_hat = m / (1 - beta1 ** (since + 1)), v / (1 - beta2 ** (since + 1))
        x = x - rate * m_hat / (np.sqrt(v_hat) + eps)
        points.append(x)
    return np.array(points)


def adan(g, x, lr, beta1, beta2, beta3, eps, eps_root, weight_decay):
    """Xie et al. 2022, algorithm 1 in the paper's own betas, corrected for the bias as in the authors' code."""
    b1, b2, b3 = 1 - beta1, 1 - beta2, 1 - beta3
    m, v, n, points = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), []
    for k, gk in enumerate(g):
        change = gk - g[k - 1] if k else np.zeros_like(x)
        m = (1 - b1) * m + b1 * gk
        v = (1 - b2) * v + b2 * change
        n = (1 - b3) * n + b3 * (gk + (1 - b2) * change) ** 2
        m_hat, v_hat, n_hat = (a / (1 - (1 - b) ** (k + 1)) for a, b in ((m, b1), (v, b2), (n, b3)))
        eta = lr / (np.sqrt(n_hat + eps_root) + eps)
        x = x - eta * (m_hat + (1 - b2) * v_hat) - lr * weight_decay * x
        points.append(x)
    return np.array(points)


def laprop(g, x, lr, beta1, beta2, eps):
    """Ziyin et al. 2020, algorithm 1."""
    m, n, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        n = beta2 * n + (1 - beta2) * gt**2
        m = beta1 * m + (1 - beta1) * gt / (np.sqrt(n / (1 - beta2**t)) + eps)
        x = x - lr * m / (1 - beta1**t)
        points.append(x)
    return np.array(points)


def eadam(g, x, lr, beta1, beta2, eps):
    """Yuan & Gao 2020."""
    m, v, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gt
        v = beta2 * v + (1 - beta2) * gt**2
        v = v + eps
        x = x - lr * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t))
        points.append(x)
    return np.array(points)


def qhadam(g, x, lr, beta1, beta2, nu1, nu2, eps):
    """Ma & Yarats 2018: averages as sums over all past gradients."""
    points = []
    for t in range(1, len(g) + 1):
        w1, w2 = beta1 ** np.arange(t)[::-1, None], beta2 ** np.arange(t)[::-1, None]
        m_hat, v_hat = (w1 * g[:t]).sum(0) / w1.sum(), (w2 * g[:t] ** 2).sum(0) / w2.sum()
        top, below = (1 - nu1) * g[t - 1] + nu1 * m_hat, (1 - nu2) * g[t - 1] ** 2 + nu2 * v_hat
        x = x - lr * top / (np.sqrt(below) + eps)
        points.append(x)
    return np.array(points)


def yogi(g, x, lr, beta1, beta2, eps, eps_root, initial_accumulator_value, bias_correction):
    """Zaheer et al. 2018, algorithm 2; correction and eps_root as in optax."""
    m, v, points = np.zeros_like(x), np.full_like(x, initial_accumulator_value), []
    for t, gt in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gt
        v = v - (1 - beta2) * np.sign(v - gt**2) * gt**2
        m_hat, v_hat = (m / (1 - beta1**t), v / (1 - beta2**t)) if bias_correction else (m, v)
        x = x - lr * m_hat / (np.sqrt(v_hat + eps_root) + eps)
        points.append(x)
    return np.array(points)


def adabelief(g, x, lr, beta1, beta2, eps, eps_root, bias_correction):
    """Zhuang et al. 2020, algorithm 2; the correction may be left out."""
    m, s, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gt
        s = beta2 * s + (1 - beta2) * (gt - m) ** 2 + eps_root
        m_hat, s_hat = (m / (1 - beta1**t), s / (1 - beta2**t)) if bias_correction else (m, s)
        x = x - lr * m_hat / (np.sqrt(s_hat) + eps)
        points.append(x)
    return np.array(points)


def padam(g, x, lr, beta1, beta2, eps, eps_root, p, bias_correction):
    """Chen et al. 2018, algorithm 1; corrected before the power."""
    m, v, u, points = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gt
        v = beta2 * v + (1 - beta2) * gt**2
        u = np.maximum(u, v)
        m_hat, u_hat = (m / (1 - beta1**t), u / (1 - beta2**t)) if bias_correction else (m, u)
        x = x - lr * m_hat / np.power(np.sqrt(u_hat + eps_root) + eps, 2 * p)
        points.append(x)
    return np.array(points)


def adam_atan2(g, x, lr, beta1, beta2, a, b):
    """Everett et al. 2024: Adam's quotient m_hat / (sqrt(v_hat) + eps) becomes a atan2(m_hat, b sqrt(v_hat))."""
    m, v, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gt
        v = beta2 * v + (1 - beta2) * gt**2
        x = x - lr * a * np.arctan2(m / (1 - beta1**t), b * np.sqrt(v / (1 - beta2**t)))
        points.append(x)
    return np.array(points)


# The settings each rule is held against its oracle with
def adam_eps(g, x, lr, beta1, beta2, eps, eps_root, eps_hat, eps_added, eps_floor):
    """Kingma & Ba 2014, algorithm 1, with each library's epsilon where that library has it."""
    m, v, points = np.zeros_like(x), np.zeros_like(x), []
    for t, gt in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gt
        v = beta2 * v + (1 - beta2) * gt**2 + eps_added
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        denominator = np.maximum(np.sqrt(v_hat + eps_root), eps_floor) + eps + eps_hat / np.sqrt(1 - beta2**t)
        x = x - lr * m_hat / denominator
        points.append(x)
    return np.array(points)


# 1e-300 stands for none: a coordinate that never had a gradient is 0/0 otherwise
NOWHERE = {"lr": 0.02, "beta1": 0.9, "beta2": 0.95, "eps": 1e-300}
NOWHERE |= {"eps_root": 0.0, "eps_hat": 0.0, "eps_added": 0.0, "eps_floor": 0.0}

CASES = {
    "adam_eps": [
        *({**NOWHERE, place: 1e-3} for place in ("eps", "eps_root", "eps_hat", "eps_added", "eps_floor")),
        {**NOWHERE, "eps": 1e-3, "eps_root": 1e-4, "eps_hat": 1e-2, "eps_added": 1e-5, "eps_floor": 0.1},
    ],
    "yogi": [
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "eps_root": 0.0,
         "initial_accumulator_value": 1e-2, "bias_correction": False},
    ],
    "adabelief": [
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "eps_root": 1e-8, "bias_correction": False},
    ],
    "padam": [
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "eps_root": 0.0, "p": 0.125, "bias_correction": False},
        {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "eps_root": 1e-4, "p": 0.3, "bias_correction": True},
    ],
    "adam_atan2": [
        {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "a": 1.27, "b": 1.0},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "a": 1.0, "b": 2.5},
    ],
    "adan": [
        {"lr": 0.02, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95, "eps": 1e-5, "eps_root": 1e-4, "weight_decay": 0.3},
        {"lr": 0.001, "beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "eps": 1e-8, "eps_root": 0.0, "weight_decay": 0.0},
    ],
    "laprop": [
        {"lr": 0.0004, "beta1": 0.9, "beta2": 0.999, "eps": 1e-15},
        {"lr": 0.02, "beta1": 0.99, "beta2": 0.5, "eps": 1e-3},  # where Adam's step is not bounded
    ],
    "eadam": [
        {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 1e-20},
    ],
    "qhadam": [
        {"lr": 0.001, "beta1": 0.995, "beta2": 0.999, "nu1": 0.7, "nu2": 1.0, "eps": 1e-8},
        {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "nu1": 0.4, "nu2": 0.6, "eps": 1e-3},
    ],
    "stable_adamw": [{"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.3}],
    "avagrad": [{"lr": 0.1, "beta1": 0.8, "beta2": 0.99, "eps": 0.1}],
    "spam": [
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-5, "threshold": 3.0, "interval": 60.0, "warmup": 20.0}
    ],
}  # fmt: skip
