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


CASES = {
    "stable_adamw": [{"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.3}],
    "avagrad": [{"lr": 0.1, "beta1": 0.8, "beta2": 0.99, "eps": 0.1}],
    "spam": [
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-5, "threshold": 3.0, "interval": 60.0, "warmup": 20.0}
    ],
}  # the settings each rule is held against its oracle with
