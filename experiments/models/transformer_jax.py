"""A character transformer of two layers that learns to add, in jax: of "07+21=28" it says the last two characters.

python -m adamx.sweep problem=experiments/models/transformer_jax.py optimizer.lr=1e-4,1e-3,1e-2 steps=500
"""

import jax
import jax.numpy as jnp
import numpy as np

import adamx

WIDTH, HEADS = 32, 2
CHARACTERS = "0123456789+="
text = [f"{a:02}+{b:02}={a + b:02}" for a in range(32) for b in range(32)]
sums = np.array([[CHARACTERS.index(c) for c in line] for line in text])
inputs, answers = sums[:, :-1], sums[:, -2:]


def init(seed):
    rng = np.random.default_rng(seed)
    weights = lambda a, b: rng.normal(size=(a, b)) / np.sqrt(a)  # noqa: E731
    norm = lambda: (np.ones(WIDTH), np.zeros(WIDTH))  # noqa: E731
    layer = lambda a, b: (weights(a, b), np.zeros(b))  # noqa: E731
    block = lambda: {  # noqa: E731
        "norm": norm(), "qkv": layer(WIDTH, 3 * WIDTH), "out": layer(WIDTH, WIDTH),
        "after": norm(), "wide": layer(WIDTH, 4 * WIDTH), "back": layer(4 * WIDTH, WIDTH),
    }  # fmt: skip
    tables = {"characters": rng.normal(size=(len(CHARACTERS), WIDTH)), "places": rng.normal(size=(7, WIDTH))}
    return {**tables, "blocks": [block(), block()], "norm": norm(), "scores": layer(WIDTH, len(CHARACTERS))}


def normal(x, scale, shift):
    return scale * jax.nn.standardize(x, epsilon=1e-5) + shift


def linear(x, w, b):
    return x @ w + b


def block(x, p):
    rows, length, _ = x.shape
    q, k, v = jnp.moveaxis(linear(normal(x, *p["norm"]), *p["qkv"]).reshape(rows, length, 3, HEADS, -1), 2, 0)
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    x = x + linear(mixed.reshape(x.shape), *p["out"])
    return x + linear(jax.nn.gelu(linear(normal(x, *p["after"]), *p["wide"])), *p["back"])


def loss(p, batch):
    text, answers = batch
    x = p["characters"][text] + p["places"]
    for one in p["blocks"]:
        x = block(x, one)
    scores = jax.nn.log_softmax(linear(normal(x, *p["norm"]), *p["scores"])[:, -2:])
    return -jnp.mean(jnp.take_along_axis(scores, answers[..., None], axis=-1))


model = adamx.Model(loss, init, (inputs, answers), batch=64, target=0.1)
