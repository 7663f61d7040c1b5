"""Himmelblau's function, four equal minima of 0: f = (x^2 + y - 11)^2 + (x + y^2 - 7)^2. Himmelblau 1972."""

from adamx.portable import portable

start = (0.0, 0.0)
minimum = 0.0
minimizers = (
    (3.0, 2.0),
    (-2.805118086952745, 3.131312518250573),
    (-3.779310253377747, -3.283185991286170),
    (3.584428340330492, -1.848126526964404),
)


@portable
def value_and_grad(x, p):
    a = x[0] * x[0] + x[1] - 11
    b = x[0] + x[1] * x[1] - 7
    return a * a + b * b, (4 * a * x[0] + 2 * b, 2 * a + 4 * b * x[1])
