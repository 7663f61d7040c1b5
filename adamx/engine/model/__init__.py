"""Models: a loss of one's own in torch or jax, many runs side by side.

run.py          what the engine asks of a backend; the ways to compute a chunk, and the faster one of them
training.py     a step of all runs on stacked arrays: gradients, the rule, the figures
frames.py       the operations that differ between torch and jax
looks.py        the instruments
processes.py    parts of a chunk by single-threaded processes
"""
