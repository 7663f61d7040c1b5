"""Families of models: gradients against finite differences and torch, products with the Hessian, and their contract."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from networks import ROWS, empty, loss_in_torch, made, product, value_and_grad

import adamx
from adamx import instruments
from adamx.inputs.errors import InputError
from adamx.models.activations import ACTIVATIONS
from adamx.models.mlp import NORMS, Mlp
from adamx.optimizers import rule
from adamx.portable.team import ALONE
from adamx.portable.unroll import offsets
from adamx.problems import LOSSES, problem

KINDS = list(itertools.product(ACTIVATIONS, NORMS))


@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("activation", "norm"), KINDS)
def test_the_gradient_is_the_slope(activation, norm, loss, hidden):
    """In plain Python and float64, all rows at once or a few at a time, against finite differences."""
    p = made(hidden, loss, activation, norm)
    x = np.random.default_rng(3).normal(size=p.dim)
    slopes = []
    for step in np.eye(p.dim) * 1e-4:  # Richardson's extrapolation of central differences: an error of order h^4
        far, near = ((value_and_grad(p, x + h)[0] - value_and_grad(p, x - h)[0]) / 2e-4 for h in (step, step / 2))
        slopes.append((8 * near - far) / 3)
    for capacity in (ROWS, 5):
        np.testing.assert_allclose(value_and_grad(p, x, capacity)[1], slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("hidden", [(), (4,), (5, 3, 4)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("activation", "norm"), KINDS)
def test_value_gradient_and_products_with_the_hessian_are_torchs(activation, norm, loss, hidden):
    """Against torch's double backward; in parts of the rows and at once."""
    torch = pytest.importorskip("torch")
    p = made(hidden, loss, activation, norm)
    x, u = np.random.default_rng(1).normal(size=(2, p.dim))
    point = torch.tensor(x, requires_grad=True)
    value = loss_in_torch(p, point)
    (slope,) = torch.autograd.grad(value, point)
    _, exact = torch.autograd.functional.hvp(lambda x: loss_in_torch(p, x), torch.tensor(x), torch.tensor(u))
    for capacity in (ROWS, 5):
        found, g = value_and_grad(p, x, capacity)
        assert found == pytest.approx(value.item(), rel=1e-12)
        np.testing.assert_allclose(g, slope.numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(product(p, x, u, capacity), exact.numpy(), rtol=1e-10, atol=1e-12)


def test_a_normalised_run_starts_at_gain_one_and_tensors_are_torchs():
    model = Mlp((3, 5, 4, 2), "tanh", "layer")
    x = empty(model.dim)
    model.kind.functions("float64", ALONE).start(x, np.array(model.sizes), 7)
    assert model.tensors == (15, 5, 5, 5, 20, 4, 4, 4, 8, 2)
    parts = np.split(x, offsets(*model.tensors)[1:-1])
    starts = [None, 0, 1, 0] * 2 + [None, 0]
    assert all((part == start).all() for part, start in zip(parts, starts, strict=True) if start is not None)
    assert 0.2 < np.concatenate([part for part, start in zip(parts, starts, strict=True) if start is None]).std() < 1


def test_a_task_counts_by_its_model_and_the_default_as_before():
    """The digest of a default model is that of the time when a model was its widths; a linear one activates nothing."""
    assert problem("digits_mlp").digest == "0e08c9f998b578e0" and problem("digits_softmax").digest == "2868fccc95c18bf9"
    found = {problem("digits_mlp", {"activation": a, "norm": n}).digest for a, n in KINDS}
    assert len(found) == len(KINDS)
    for setting in ({"activation": "tanh"}, {"norm": "layer"}):
        with pytest.raises(InputError, match=r"and there is no hidden layer: problem.hidden=\[32\] has one"):
            problem("moons_logistic", setting)


def test_a_kernel_serves_every_size():
    assert len({Mlp(widths, "gelu").kind for widths in ((3, 2), (3, 5, 2), (9, 8, 7, 6))}) == 1
    assert len({Mlp((), a, n).name for a, n in KINDS}) == len(KINDS)


FAMILY = '''
"""A quadratic model: z = c + sum_j (w_j a_j + q_j a_j^2) of the features a, one output."""
from dataclasses import dataclass

import numpy as np

from adamx.models import Family, Functions, Row
from adamx.portable import portable
from adamx.problems import Task


@dataclass(frozen=True)
class Quadratic(Family):
    features: int

    name = "quadratic_model"
    outputs = 1
    kind = property(lambda self: Quadratic(0))
    sizes = property(lambda self: (self.features,))
    tensors = property(lambda self: (self.features, self.features, 1))
    row = property(lambda self: Row(self.features + 1, 1))
    content = property(lambda self: ("quadratic_model", self.features))

    def functions(self, dtype, team):
        zero, share, sync = np.dtype(dtype).type(0), team.share, team.sync

        @portable
        def start(x, sizes, seed):
            for i in share(0, len(x)):
                x[i] = zero
            sync()

        @portable
        def outputs(sizes, count):
            return count * sizes[0], 0

        @portable
        def forward(x, sizes, acts, count):
            n = sizes[0]
            for r in share(0, count):
                z = x[2 * n]
                for j in range(n):
                    a = acts[r * np.uint64(n) + np.uint64(j)]
                    z += x[j] * a + x[n + j] * a * a
                acts[np.uint64(count * n) + r] = z
            sync()

        @portable
        def backward(x, sizes, acts, slopes, count, g):
            n = sizes[0]
            for j in share(0, len(g)):
                total = zero
                for r in range(count):
                    a = acts[np.uint64(r * n) + j % np.uint64(n)]
                    total += slopes[r] * (a if j < n else a * a if j < 2 * n else a ** 0)
                g[j] = total
            sync()

        return Functions(start, outputs, forward, backward)


def build(batch: int = 0) -> Task:
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 3))
    y = x @ [1.0, -2.0, 0.5] + x**2 @ [0.5, 0.0, -1.0] + 0.3
    return Task(x[:30], y[:30], x[30:], y[30:], Quadratic(3), "squares", batch, 1e-6)
'''


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_family_is_one_file(dtype, tmp_path):
    """It is trained by every rule, with pools over its tensors and all instruments but those of the Hessian."""
    path = tmp_path / "mine.py"
    path.write_text(FAMILY)
    p = problem(str(path))
    exact = np.array([1.0, -2.0, 0.5, 0.5, 0.0, -1.0, 0.3])
    r = adamx.simulate("adam", p, {"lr": [0.03, 0.01]}, 1500, 500, dtype=dtype, instruments=["grad_norm", "lag"])
    np.testing.assert_allclose(r.x, [exact, exact], atol=1e-4)
    assert (r.regime == "converged").all() and set(r.curves) == {"val_loss", "grad_norm", "lag"}
    assert np.isfinite(adamx.simulate("lamb", p, {"lr": 0.01}, 20, dtype=dtype).loss).all()
    x = np.random.default_rng(1).normal(size=p.dim)
    value, g = value_and_grad(p, x)
    design = np.column_stack([p.x, p.x**2, np.ones(len(p.x))])
    assert value == pytest.approx(0.5 * np.mean((design @ x - p.y) ** 2), rel=1e-12)
    np.testing.assert_allclose(g, design.T @ (design @ x - p.y) / len(p.y), rtol=1e-12)
    with pytest.raises(InputError, match="'sharpness' needs a model with a `curvature`; mine has none"):
        instruments.check("sharpness", rule("adam"), p)
