"""Styblinski & Tang's function: f = sum_i (x_i^4 - 16 x_i^2 + 5 x_i) / 2. Styblinski & Tang 1990, Neural Netw. 3(4).

Each coordinate's least value is -39.16616570377142 at -2.903534027771177, with a local minimum near 2.7468.
"""

from adamx.portable import portable

start = (-0.5, 1.0)
minimum = -39.16616570377142
minimizers = (-2.903534027771177,)


@portable
def term(x, p):
    xx = x * x
    return 0.5 * (xx * xx - 16 * xx + 5 * x), 2 * xx * x - 16 * x + 2.5
