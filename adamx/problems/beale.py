"""Beale's function: f = sum_k (c_k - x (1 - y^k))^2, c = (1.5, 2.25, 2.625). Beale 1958. Minimum 0 at (3, 0.5)."""

from adamx.portable import portable

start = (1.0, 1.0)
minimum = 0.0
minimizers = ((3.0, 0.5),)


@portable
def value_and_grad(x, p):
    y, yy = x[1], x[1] * x[1]
    r1 = 1.5 - x[0] * (1 - y)
    r2 = 2.25 - x[0] * (1 - yy)
    r3 = 2.625 - x[0] * (1 - yy * y)
    dx = -2 * (r1 * (1 - y) + r2 * (1 - yy) + r3 * (1 - yy * y))
    dy = 2 * x[0] * (r1 + 2 * r2 * y + 3 * r3 * yy)
    return r1 * r1 + r2 * r2 + r3 * r3, (dx, dy)
