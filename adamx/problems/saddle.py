"""A saddle: f = x^2 - y^2, started almost on the ridge. Nothing lies below; the goal is to leave, f <= -1 (|y| > 1).

`minimum` is that goal, so that a run which left the saddle has reached its target.
"""

from adamx.portable import portable

start = (1.0, 1e-6)
minimum = -1.0
target = 0.0


@portable
def value_and_grad(x, p):
    return x[0] * x[0] - x[1] * x[1], (2 * x[0], -2 * x[1])
