"""A network of one hidden layer on the digits, in jax.

python -m adamx.sweep problem=experiments/models/mlp_jax.py optimizer.lr=1e-4,1e-3,1e-2 steps=500
"""

import jax
import jax.numpy as jnp
import numpy as np

import adamx
from adamx.inputs.datasets import bundled

x, y = bundled("digits")


def init(seed):
    rng = np.random.default_rng(seed)
    weights = lambda a, b: rng.normal(size=(a, b)) * np.sqrt(2 / a)  # noqa: E731
    return [(weights(64, 32), np.zeros(32)), (weights(32, 10), np.zeros(10))]


def loss(layers, batch):
    images, digits = batch
    (w, b), (v, c) = layers
    scores = jax.nn.log_softmax(jax.nn.relu(images @ w + b) @ v + c)
    return -jnp.mean(jnp.take_along_axis(scores, digits[:, None], axis=1))


model = adamx.Model(loss, init, (x / 16, y.astype(int)), batch=64, target=0.1)
