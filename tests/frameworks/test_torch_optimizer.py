"""Rules as torch optimizers: against torch.optim, through torch's own harness, and as training scripts use them."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402
from adamx.optimizers import rule  # noqa: E402
from adamx.torch import Optimizer, translate  # noqa: E402

# name: (torch's optimizer, its arguments, the rule's)
PEERS = {
    "sgd": ("SGD", {"lr": 0.1}, {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.01, "momentum": 0.8}, {"lr": 0.01, "momentum": 0.8}),
    "nesterov": ("SGD", {"lr": 0.01, "momentum": 0.8, "nesterov": True}, {"lr": 0.01, "momentum": 0.8}),
    "rmsprop": (
        "RMSprop",
        {"lr": 0.01, "alpha": 0.9, "centered": True, "momentum": 0.5},
        {"lr": 0.01, "beta2": 0.9, "centered": True, "momentum": 0.5},
    ),
    "adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}, {"lr": 0.1, "lr_decay": 0.1}),
    "adadelta": ("Adadelta", {"rho": 0.8}, {"beta2": 0.8}),
    "adam": ("Adam", {"lr": 0.02, "betas": (0.8, 0.99)}, {"lr": 0.02, "beta1": 0.8, "beta2": 0.99}),
    "adamw": ("AdamW", {"weight_decay": 0.1}, {"weight_decay": 0.1}),
    "amsgrad": ("Adam", {"amsgrad": True}, {}),
    "adamax": ("Adamax", {}, {}),
    "nadam": ("NAdam", {"lr": 0.01}, {"lr": 0.01}),
    "nadamw": (
        "NAdam",
        {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"lr": 0.01, "weight_decay": 0.1},
    ),
    "radam": ("RAdam", {"eps": 1e-300}, {"eps": 1e-300}),
    "rprop": ("Rprop", {}, {}),
}
SHAPES = [(3, 4), (), (0, 2), (2500,)]


def parameters(dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for shape in SHAPES]


def give(params, seed):
    """The same gradients to every list of parameters."""
    for some in params:
        for p, g in zip(some, parameters(some[0].dtype, seed), strict=True):
            p.grad = g.detach()


def steps(optimizers, params, seeds):
    for seed in seeds:
        give(params, seed)
        for optimizer in optimizers:
            optimizer.step()


def close(a, b, rtol=1e-12):
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=rtol)


def test_the_peers_are_those_that_can_be_loaded():
    assert set(PEERS) == set(translate.SOURCES)


@pytest.mark.parametrize("name", PEERS)
def test_rules_equal_torchs_and_load_its_state(name):
    peer, arguments, hyper = PEERS[name]
    ours, theirs = parameters(), parameters()
    one, two = Optimizer(ours, name, **hyper), getattr(torch.optim, peer)(theirs, **arguments)
    steps([one, two], [ours, theirs], range(1, 8))
    close(ours, theirs, 1e-8 if "nadam" in name else 1e-12)
    loaded = Optimizer(theirs, name)
    loaded.load_state_dict(two.state_dict())
    steps([one, loaded], [ours, theirs], range(8, 12))
    close(ours, theirs, 1e-8 if "nadam" in name else 1e-12)  # torch keeps NAdam's product of mu in float32


@pytest.mark.parametrize("name", ["adam", "spam", "lamb", "adagrad"])
@pytest.mark.parametrize("way", ["state_dict", "deepcopy", "pickle"])
def test_what_is_saved_goes_on_to_the_bit(name, way):
    ours = parameters()
    one = Optimizer(ours, name, lr=0.02)
    steps([one], [ours], [1, 2])
    if way == "state_dict":
        others = [p.detach().clone().requires_grad_() for p in ours]
        two = Optimizer(others, name)
        two.load_state_dict(one.state_dict())
    else:
        two = copy.deepcopy(one) if way == "deepcopy" else pickle.loads(pickle.dumps(one))
        others = two.param_groups[0]["params"]
    steps([one, two], [ours, others], [3, 4])
    assert all(map(torch.equal, ours, others))


@pytest.mark.parametrize("name", ["adam", "lamb", "spam"])
def test_the_rule_on_tensors_equals_the_kernels(name):
    ours = parameters()
    scattered = [torch.empty(*p.shape, 2, dtype=p.dtype)[..., 0].copy_(p.detach()).requires_grad_() for p in ours]
    assert not scattered[-1].is_contiguous()
    steps([Optimizer(ours, name), Optimizer(scattered, name)], [ours, scattered], range(1, 5))
    close(ours, scattered)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_a_state_in_float32(dtype):
    ours = [p.detach().to(dtype).requires_grad_() for p in parameters()]
    whole = [p.detach().float().requires_grad_() for p in ours]
    one, two = Optimizer(ours, "adam", lr=0.1), Optimizer(whole, "adam", lr=0.1)
    give([ours], 1)
    for p, q in zip(ours, whole, strict=True):
        q.grad = p.grad.float()
    one.step()
    two.step()
    assert all(torch.equal(p, q.to(dtype)) for p, q in zip(ours, whole, strict=True))
    assert {one.state[p]["v"].dtype for p in ours} == {torch.float32}
    again = Optimizer(ours, "adam")
    again.load_state_dict(one.state_dict())
    assert all(torch.equal(again.state[p]["v"], one.state[p]["v"]) for p in ours)


def test_parameters_without_a_gradient_wait_with_a_clock_of_their_own():
    ours, theirs = parameters(), parameters()
    one, two = Optimizer(ours, "adam"), torch.optim.Adam(theirs)
    for seed, absent in [(1, [0]), (2, []), (3, [3]), (4, [0, 1]), (5, [0, 1, 2, 3]), (6, [])]:
        give([ours, theirs], seed)
        for i in absent:
            ours[i].grad = theirs[i].grad = None
        one.step()
        two.step()
    close(ours, theirs)
    assert [int(one.state[p]["step"]) for p in ours] == [3, 4, 5, 4]


def test_groups_schedules_closures_hooks_and_maximize():
    ours, theirs, seen = parameters(), parameters(), []

    def made(kind, params, *name):
        optimizer = kind([{"params": params[:1], "lr": 0.1}, {"params": params[1:2]}], *name, lr=0.01, maximize=True)
        optimizer.add_param_group({"params": params[2:], "eps": 1e-2, "maximize": False})
        warm = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-9, total_iters=3)
        return optimizer, torch.optim.lr_scheduler.SequentialLR(
            optimizer, [warm, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3, eta_min=0.0)], [3]
        )

    one, schedule = made(Optimizer, ours, "adam")
    two, other = made(torch.optim.Adam, theirs)
    one.register_step_post_hook(lambda *_: seen.append(1))
    for seed in range(1, 8):

        def closure(params=(ours, theirs), seed=seed):
            assert torch.is_grad_enabled()
            give(params, seed)
            return 7.0

        assert one.step(closure) == 7.0
        two.step(closure)
        schedule.step()
        other.step()
    close(ours, theirs)
    assert len(seen) == 7 and one.param_groups[2]["eps"] == 1e-2


def test_a_grad_scaler_skips_what_overflows():
    p = torch.ones(3, requires_grad=True)
    optimizer, scaler = Optimizer([p], "sgd", lr=0.5), torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert p.tolist() == [0.0, 0.0, 0.0]


def test_autograd_notices_that_parameters_change():
    p = torch.ones(3, dtype=torch.float64, requires_grad=True)
    loss = (p * p).sum()
    p.grad = torch.ones_like(p)
    Optimizer([p], "adam").step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_users_rule(tmp_path):
    path = tmp_path / "halving.py"
    path.write_text(
        "from typing import NamedTuple\nfrom adamx.portable import portable\n"
        "class Hyper(NamedTuple):\n    lr: float = 0.5\n"
        "@portable\ndef update(x, g, state, h, now):\n    return x - h.lr * g if g > 0 else x, state\n"
    )
    for kind in (torch.float64, torch.bfloat16):
        p = torch.ones(2, dtype=kind, requires_grad=True)
        p.grad = torch.tensor([1.0, -1.0], dtype=kind)
        Optimizer([p], str(path)).step()
        assert p.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("adamm", {}), "unknown optimizer 'adamm': did you mean 'adam'"),
        (("adam", {"betas": (0.9, 0.9)}), "unknown hyperparameter of adam 'betas'"),
        (("adam", {"lr": -1.0}), "adam.lr is -1: lr > 0 is needed"),
        (("adam", {"lr": torch.tensor([1.0, 1.0])}), "Tensor lr must be 1-element"),
    ],
)
def test_what_is_typed_wrong_is_said(arguments, said):
    with pytest.raises(InputError, match=re.escape(said)):
        Optimizer(parameters(), arguments[0], **arguments[1])


def test_complex_sparse_and_foreign_are_refused():
    with pytest.raises(InputError, match="complex64"):
        Optimizer([torch.zeros(2, dtype=torch.complex64, requires_grad=True)], "adam")
    with pytest.raises(InputError, match="unknown hyperparameter of sgd 'momentum'"):
        Optimizer([{"params": parameters(), "momentum": 0.9}], "sgd")
    weights = torch.nn.Embedding(4, 2, sparse=True)
    weights(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse"):
        Optimizer(weights.parameters(), "adam").step()
    params = parameters()
    for theirs, said in [
        (torch.optim.Adam(params, weight_decay=0.1), "weight_decay=0.1"),
        (torch.optim.SGD(params), "does not equal"),
        (Optimizer(params, "eadam"), "is of 'eadam', not of 'adam'"),
    ]:
        with pytest.raises(InputError, match=said):
            Optimizer(params, "adam").load_state_dict(theirs.state_dict())


def test_the_state_is_the_users_to_change():
    ours = parameters()
    optimizer = Optimizer(ours, "momentum", lr=1.0, momentum=0.5)
    steps([optimizer], [ours], [1])
    for p in ours:
        optimizer.state[p]["m"].zero_()
    before = [p.detach().clone() for p in ours]
    steps([optimizer], [ours], [2])
    close(ours, [p - g for p, g in zip(before, parameters(seed=2), strict=True)])


def test_import_adamx_reaches_it_by_name():
    assert adamx.torch.Optimizer is Optimizer
    assert np.isclose(Optimizer(parameters(), "adam").param_groups[0]["lr"], rule("adam").defaults["lr"])
