"""f_t = 3x if t mod 3 = 1 else -x on [-1, 1], best at -1. Reddi, Kale & Kumar 2018, Theorem 1 with C = 3."""

from adamx.portable import portable

start = (0.0,)
minimum = -1.0 / 3
bounds = (-1.0, 1.0)


@portable
def objective(x, p):
    return x[0] / 3  # the mean of a cycle


@portable
def value_and_grad(x, p, t):
    slope = 3 if t % 3 == 1 else -1
    return slope * x[0], (slope + 0 * x[0],)
