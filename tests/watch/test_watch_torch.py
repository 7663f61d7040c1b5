"""The watch on torch's optimizers: what it measures against copies of the parameters, and that it changes nothing."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adamx  # noqa: E402
from adamx.inputs.errors import InputError  # noqa: E402
from adamx.torch import figures, memory  # noqa: E402
from adamx.torch.figures import Sums, tensorwise, together  # noqa: E402
from adamx.torch.formulas import formula_of, of_copy  # noqa: E402
from adamx.torch.glance import glance  # noqa: E402

DECAYED = {"weight_decay": 0.1}
CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, **DECAYED}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, **DECAYED}),
    ("SGD", {"lr": 0.1, "maximize": True, **DECAYED}),
    ("RMSprop", {"lr": 0.01, **DECAYED}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, **DECAYED}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, **DECAYED}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.99), **DECAYED}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "eps": 0.5}),
    ("Adam", {"lr": 0.02, "capturable": False, "foreach": True}),
    ("AdamW", {"lr": 0.02, **DECAYED}),
    ("AdamW", {"lr": 0.02, "fused": True, "maximize": True, **DECAYED}),
    ("Adamax", {"lr": 0.02, **DECAYED}),
    ("NAdam", {"lr": 0.02, **DECAYED}),
    ("NAdam", {"lr": 0.02, "decoupled_weight_decay": True, **DECAYED}),
    ("RAdam", {"lr": 0.02, **DECAYED}),
    ("RAdam", {"lr": 0.02, "decoupled_weight_decay": True, "betas": (0.9, 0.9), **DECAYED}),
]
SHAPES = [(7, 5), (), (0, 2), (9000,)]


def parameters(dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for shape in SHAPES]


def give(params, seed):
    for p, g in zip(params, parameters(params[0].dtype, seed), strict=True):
        p.grad = g.detach() * 0.1
        if p.dim():
            p.grad[:1] = 0


def stepped(name, options, dtype=torch.float64, steps=7):
    """An optimizer after some steps, its parameters, and copies of them before the last."""
    params = parameters(dtype)
    optimizer = getattr(torch.optim, name)(params, **options)
    for seed in range(1, steps + 1):
        give(params, seed)
        before = [p.detach().clone() for p in params]
        optimizer.step()
    return optimizer, params, before


def formulas(optimizer, params, t):
    (group,) = optimizer.param_groups
    return [formula_of(optimizer)(group, optimizer.state[p], t) for p in params]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_step_from_the_state_is_the_step_that_was_made(name, options):
    optimizer, params, before = stepped(name, options)
    some = formulas(optimizer, params, 7.0)
    part = together(params, [p.grad for p in params], some, options["lr"], 1.0)
    for i, (p, b) in enumerate(zip(params, before, strict=True)):
        step = (b - p.detach()).numpy() / options["lr"]
        assert part.sums.step2[i] == pytest.approx((step**2).sum(), rel=1e-9)
        assert part.sums.largest[i] == pytest.approx(np.abs(step).max(initial=0), rel=1e-9)
        assert part.sums.g2[i] == pytest.approx(float((p.grad**2).sum()), rel=1e-12)
        assert part.sums.zero[i] == int((p.grad == 0).sum())
        assert part.sums.x2[i] == pytest.approx(float((p.detach() ** 2).sum()), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "dtype"),
    [(*case, torch.float64) for case in (CASES[1], CASES[5], CASES[9], CASES[13], CASES[15])]
    + [(*CASES[13], dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)],
)
def test_the_kernel_is_torchs_operations(name, options, dtype, monkeypatch):
    monkeypatch.setattr(figures, "SAMPLE", 10_000)  # of all coordinates
    optimizer, params, _ = stepped(name, options, dtype)
    some = formulas(optimizer, params, 7.0)
    part = together(params, [p.grad for p in params], some, options["lr"], 1.0)
    for i, (p, f) in enumerate(zip(params, some, strict=True)):
        if p.numel():
            assert figures.reachable(p, p.grad, f)
            sums, _ = tensorwise(p, p.grad, f, options["lr"], 1.0)
            found = Sums(*np.array(part.sums)[:, i])
            for field, value, peer in zip(Sums._fields, found, sums, strict=True):
                # a count may change by those at a threshold where the order of operations is another
                slack = 0.002 * p.numel() if field in ("lost", "below") and dtype != torch.float64 else 0
                assert value == pytest.approx(
                    peer, rel=2e-4 if dtype != torch.float64 else 1e-9, abs=slack, nan_ok=True
                ), field
    rates = np.concatenate(
        [tensorwise(p, p.grad, f, options["lr"], 1.0)[1].reshape(-1).double().numpy() for p, f in zip(params, some)]
    )
    assert np.sort(part.rates) == pytest.approx(np.sort(rates), rel=1e-4)


def test_sixteen_bits_are_read_as_torch_reads_them():
    for dtype, read in ((torch.bfloat16, memory.from_bfloat16), (torch.float16, memory.from_float16)):
        bits = torch.arange(-(2**15), 2**15, 7).to(torch.int16)
        values = bits.view(dtype).float().numpy()
        found = np.array([read(np.int16(b)) for b in bits.numpy()])
        assert np.array_equal(found, values, equal_nan=True)


def test_lost_updates_are_those_that_leave_the_parameter_as_it_was():
    optimizer, params, before = stepped("Adam", {"lr": 1e-3}, torch.bfloat16)
    part = together(params, [p.grad for p in params], formulas(optimizer, params, 7.0), 1e-3, 1.0)
    for i, (p, b) in enumerate(zip(params, before, strict=True)):
        kept = int(((p.detach() == b) & (optimizer.state[p]["exp_avg"] != 0)).sum()) if p.numel() else 0
        assert part.sums.lost[i] == pytest.approx(kept, abs=0.02 * p.numel())
    assert part.sums.lost.sum() > 1000


def test_what_is_not_finite_is_counted_and_shows():
    optimizer, params, _ = stepped("Adam", {"lr": 0.02})
    params[3].grad[5], params[3].grad[6] = math.nan, math.inf
    optimizer.step()
    part = together(params, [p.grad for p in params], formulas(optimizer, params, 8.0), 0.02, 1.0)
    assert part.sums.nonfinite.tolist() == [0, 0, 0, 2]
    assert not math.isfinite(part.sums.step2[3]) and not math.isfinite(part.sums.largest[3])


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1e12, 1e25])
def test_squares_that_float32_does_not_hold_are_summed(size):
    """A gradient of 1e25 has a norm, and so has one of 1e-25; the update by either is of the size of lr."""
    p = torch.nn.Parameter(torch.ones(3000))
    optimizer = torch.optim.SGD([p], lr=0.1)
    p.grad = size * torch.linspace(-1, 1, 3000)
    part = together([p], [p.grad], [formula_of(optimizer)(optimizer.param_groups[0], {}, 1.0)], 0.1, 1.0)
    assert part.sums.g2[0] == pytest.approx(float((p.grad.double() ** 2).sum()), rel=1e-6)
    assert part.sums.step2[0] == part.sums.core2[0] == pytest.approx(part.sums.g2[0], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_copies_say_the_step_in_the_kernel_as_in_torchs_operations(dtype):
    _, params, before = stepped("Adam", {"lr": 1e-3}, dtype)
    some = [of_copy({"lr": 1e-3}, b) for b in before]
    part = together(params, [p.grad for p in params], some, 1e-3, 1.0)
    for i, (p, b, f) in enumerate(zip(params, before, some, strict=True)):
        if p.numel():
            assert np.array(part.sums)[:, i] == pytest.approx(tensorwise(p, p.grad, f, 1e-3, 1.0)[0], rel=1e-5)
            step = (b.double() - p.detach().double()) / 1e-3
            assert part.sums.step2[i] == pytest.approx(float((step**2).sum()), rel=1e-4)
    assert not np.isfinite(part.rates).any()
    assert part.sums.lost.sum() > 1000 if dtype == torch.bfloat16 else part.sums.lost.sum() == 0


def test_the_quantiles_of_large_tensors_are_of_an_even_sample():
    params = [torch.nn.Parameter(torch.randn(100_003)), torch.nn.Parameter(torch.randn(50_001))]
    optimizer = torch.optim.Adam(params, lr=0.1)
    for p in params:
        p.grad = torch.randn_like(p)
    optimizer.step()
    part = together(params, [p.grad for p in params], formulas(optimizer, params, 1.0), 0.1, 1.0)
    assert 0.9 * figures.SAMPLE / 2 < len(part.rates) <= figures.SAMPLE
    exact = np.concatenate([0.1 / (p.grad.abs().numpy() + 1e-8) for p in params])
    for q in (0.1, 0.5, 0.9):
        rank = np.mean(exact <= np.quantile(part.rates, q))
        assert rank == pytest.approx(q, abs=4 * np.sqrt(q * (1 - q) / len(part.rates)))


@pytest.mark.parametrize("kind", [torch.optim.Adam, lambda p: adamx.torch.Optimizer(p, "adam", lr=1e-3)])
@pytest.mark.parametrize("threads", [1, 3])
def test_torch_keeps_its_number_of_threads(kind, threads):
    p, before = torch.nn.Parameter(torch.zeros(10)), torch.get_num_threads()
    optimizer = kind([p])
    p.grad = torch.ones(10)
    try:
        torch.set_num_threads(threads)
        with adamx.watch(optimizer):
            optimizer.step()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_curvature_of_attention_is_measured():
    q = torch.nn.Parameter(torch.randn(1, 2, 8, 4, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.Adam([q], lr=1e-3)

    def loss_of():
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).pow(2).mean()

    with adamx.watch(optimizer, loss_of) as w:
        loss_of().backward()
        optimizer.step()
    assert math.isfinite(w.tape.curvatures["curvature"][0])


def test_a_glance_is_the_norm():
    few = [torch.randn(100, 7), torch.randn(3), torch.randn(0, 2), torch.randn(7_000)]
    assert glance(few) == pytest.approx(float(torch.cat([g.flatten() for g in few]).norm()), rel=1e-6)
    many = [torch.randn(1000, 700), torch.randn(3), 5 * torch.randn(200_000)]
    assert glance(many) == pytest.approx(float(torch.cat([g.flatten() for g in many]).norm()), rel=0.03)


def net_of(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1)
    return torch.nn.Sequential(*layers)


def trained(optimizer_of, steps=25, watched=True, closure=True, **options):
    net = net_of()
    x, y = torch.randn(32, 6), torch.randn(32, 1)
    optimizer = optimizer_of(net)

    def loss_of():
        return ((net(x) - y) ** 2).mean()

    w = adamx.watch(optimizer, loss_of if closure else None, every=3, curvature=3, **options) if watched else None
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        if w:
            w.loss(loss)
    if w:
        w.close()
    return net, optimizer, w


MAKERS = {
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=1e-2),
    "fused": lambda net: torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True),
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9),
    "adamx": lambda net: adamx.torch.Optimizer(net.parameters(), "adopt", lr=1e-2),
    "rprop": lambda net: torch.optim.Rprop(net.parameters()),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_watched_training_is_the_same_to_the_bit(name):
    alone, _, _ = trained(MAKERS[name], watched=False)
    net, _, w = trained(MAKERS[name])
    assert all(torch.equal(p, q) for p, q in zip(alone.parameters(), net.parameters(), strict=True))
    assert w.tape.steps == 25 and w.tape.rows[:6] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(w.tape.whole["step_rms"]))
    assert w.tape.loss_step == w.tape.loss_step.__class__("q", range(1, 26))


def test_a_loss_told_before_its_step_has_that_steps_number():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([p], lr=0.1)
    with adamx.watch(optimizer) as w:
        for _ in range(3):
            w.loss(1.0)
            p.grad = torch.ones(3)
            optimizer.step()
    assert list(w.tape.loss_step) == [1, 2, 3]


@pytest.mark.parametrize("rule", ["adam", "adopt", "lion"])
def test_a_rule_of_adamx_is_seen_by_copies(rule):
    net = net_of()
    optimizer = adamx.torch.Optimizer(net.parameters(), rule, lr=1e-2)
    steps = []
    with adamx.watch(optimizer, every=1) as w:
        for seed in range(4):
            torch.manual_seed(seed)
            for p in net.parameters():
                p.grad = torch.randn_like(p)
            before = torch.cat([p.detach().clone().flatten() for p in net.parameters()])
            optimizer.step()
            after = torch.cat([p.detach().flatten() for p in net.parameters()])
            steps.append(float(((after - before) / 1e-2).square().mean().sqrt()))
    assert w.tape.whole["step_rms"] == pytest.approx(steps, rel=1e-5)


def test_groups_have_curves_of_their_own_and_none_gradients_are_left_out():
    a, b, c = (torch.nn.Parameter(torch.ones(20)) for _ in range(3))
    optimizer = torch.optim.AdamW([{"params": [a]}, {"params": [b, c], "lr": 0.1, "eps": 1.0}], lr=0.01)
    with adamx.watch(optimizer, every=1) as w:
        for _ in range(3):
            a.grad, b.grad, c.grad = torch.ones(20), 0.5 * torch.ones(20), None
            optimizer.step()
    assert w.tape.series("lr", 1)[1].tolist() == [0.1] * 3
    assert w.tape.series("below_eps", 0)[1].tolist() == [0] * 3 and w.tape.series("below_eps", 1)[1].tolist() == [1] * 3
    assert w.tape.series("grad_norm", 1)[1] == pytest.approx([math.sqrt(20) / 2] * 3)
    assert w.tape.series("grad_norm")[1] == pytest.approx([math.sqrt(25)] * 3)


def test_a_group_that_is_added_later_is_watched():
    a, b = (torch.nn.Parameter(torch.ones(20)) for _ in range(2))
    optimizer = torch.optim.Adam([a])
    with adamx.watch(optimizer, every=1) as w:
        a.grad, b.grad = torch.ones(20), torch.ones(20)
        optimizer.step()
        optimizer.add_param_group({"params": [b], "lr": 0.5})
        optimizer.step()
    assert len(w.tape.groups) == 2 and w.tape.series("lr", 1)[1][1] == 0.5
    assert w.tape.series("grad_norm", 1)[1].tolist()[1] == pytest.approx(math.sqrt(20))


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_gradscaler_skips_are_counted(fused):
    p = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([p], lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    with adamx.watch(optimizer, every=1, scaler=scaler) as w:
        for i in range(6):
            optimizer.zero_grad()
            loss = (p * (math.inf if i == 3 else 1.0)).sum()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            w.loss(loss if i != 3 else torch.tensor(4.0))
    assert [e.kind for e in w.tape.events] == ["skipped"]
    assert w.tape.steps == 5
    # unscaled, though the fused optimizer gets scaled ones; they were inf at the skipped step alone
    assert w.tape.whole["grad_norm"] == pytest.approx([2.0] * 5)
    assert "skipped 1 step" in str(w.verdict)


def test_the_curvature_is_that_of_the_hessian():
    torch.manual_seed(0)
    a = torch.randn(5, 5, dtype=torch.float64)
    h = a @ a.T + torch.eye(5)
    x = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimizer = torch.optim.Adam([x], lr=1e-9, betas=(0.8, 0.99))

    def loss_of():
        return 0.5 * x @ h @ x

    with adamx.watch(optimizer, loss_of, every=1, curvature=1) as w:
        for _ in range(30):
            optimizer.zero_grad()
            loss_of().backward()
            optimizer.step()
    g = (h @ x).detach()
    state = optimizer.state[x]
    den = (state["exp_avg_sq"] / (1 - 0.99**30)).sqrt() + 1e-8
    d = g / den
    assert w.tape.curvatures["curvature"][-1] == pytest.approx(float(d @ h @ d / (g @ d)), rel=1e-6)
    largest = torch.linalg.eigvalsh(h / (den.sqrt()[:, None] * den.sqrt()[None, :]))[-1]
    assert w.tape.curvatures["sharpness"][-1] == pytest.approx(float(largest), rel=1e-6)
    assert w.tape.curvatures["sharpness_limit"][-1] == pytest.approx((2 + 2 * 0.8) / (0.2 * 1e-9))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.7}),
        ("SGD", {"momentum": 0.7, "nesterov": True}),
        ("Adam", {"betas": (0.7, 0.9)}),
        ("NAdam", {"betas": (0.7, 0.9)}),
    ],
)
@pytest.mark.parametrize(("times", "grows"), [(0.98, False), (1.02, True)])
def test_the_limit_is_where_the_step_diverges(name, options, times, grows):
    """On h x^2 / 2 with v held at one value: the run decays below the limit and grows above it."""
    from adamx.torch.formulas import limit

    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    probe_lr = 0.1
    optimizer = getattr(torch.optim, name)([x], lr=probe_lr, **options)
    x.grad = torch.ones_like(x)
    optimizer.step()
    f = formula_of(optimizer)(optimizer.param_groups[0], optimizer.state[x], 1.0)
    edge = limit(f, probe_lr, name not in ("SGD", "RMSprop"), name == "NAdam" or "nesterov" in options)
    h = times * edge
    with torch.no_grad():
        x.fill_(1.0)
        if f.m is not None:
            f.m.zero_()
    sizes = []
    for t in range(4000):
        if f.v is not None:  # eps is 1e-8: den = 1
            optimizer.state[x]["exp_avg_sq"].fill_(1.0)
            optimizer.state[x]["step"].fill_(1e6)
        x.grad = (h * x).detach()
        if f.v is not None:
            optimizer.param_groups[0]["betas"] = (0.7, 1 - 1e-12)
            optimizer.state[x]["step"].fill_(1e14)
        optimizer.step()
        sizes.append(abs(float(x.detach())))
        if not 1e-100 < sizes[-1] < 1e5:
            break
    assert (sizes[-1] > 1) == grows


def test_moments_that_are_lost_are_noticed():
    def run(spoil):
        net = net_of()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        fresh = copy.deepcopy(optimizer.state_dict())
        with adamx.watch(optimizer, every=5) as w:
            for t in range(30):
                if t == 20:
                    spoil(optimizer, fresh)
                for p in net.parameters():
                    p.grad = torch.randn_like(p)
                optimizer.step()
        return [(e.step, e.kind) for e in w.tape.events]

    def zero(optimizer, fresh):
        for state in optimizer.state.values():
            state["exp_avg_sq"].zero_()

    def anew(optimizer, fresh):
        for state in optimizer.state.values():
            state["step"].zero_()

    assert run(lambda o, fresh: None) == []
    assert run(anew)[0] == (21, "moments_lost"), "the step at which it was, though it is seen at the 25th"
    assert run(lambda o, fresh: o.state.clear()) == [(21, "moments_lost")]
    assert run(lambda o, fresh: o.load_state_dict(fresh)) == [(21, "moments_lost")]
    assert run(zero) == [(25, "moments_lost")]
    assert run(lambda o, fresh: o.load_state_dict(o.state_dict())) == []


def test_a_restart_without_state_is_noticed():
    p = torch.nn.Parameter(torch.ones(3))
    with adamx.watch(torch.optim.Adam([p]), step=5000) as w:
        pass
    assert [(e.step, e.kind) for e in w.tape.events] == [(5001, "moments_lost")]


def test_bad_use_is_one_line():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([p])
    with pytest.raises(InputError, match=r"optimizer is Linear: a torch\.optim\.Optimizer is needed"):
        adamx.watch(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="every is 0: a whole number >= 1"):
        adamx.watch(optimizer, every=0)
    with pytest.raises(InputError, match="loss is float: a function"):
        adamx.watch(optimizer, 3.0)
    with pytest.raises(InputError, match="complex"):
        adamx.watch(torch.optim.Adam([torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))]))
    for options, said in (
        ({"target": "low"}, "target is 'low': a number is needed"),
        ({"minimum": None}, "minimum is None: a number is needed"),
        ({"scaler": 3}, r"scaler is int: a torch\.amp\.GradScaler is needed"),
    ):
        with pytest.raises(InputError, match=said):
            adamx.watch(optimizer, **options)
    w = adamx.watch(optimizer)
    with pytest.raises(InputError, match="loss is Tensor: a number"):
        w.loss(torch.ones(3))
    w.close()
    with pytest.raises(InputError, match="closed"):
        w.loss(1.0)
    with pytest.raises(InputError, match="closed"), w:
        pass
    assert w.verdict.cause == "unknown"


def test_sparse_gradients_are_left_out_and_it_is_said():
    table, p = torch.nn.Embedding(10, 4, sparse=True), torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([*table.parameters(), p], lr=0.1)
    with adamx.watch(optimizer, every=1) as w:
        for _ in range(3):
            optimizer.zero_grad()
            ((table(torch.tensor([1, 2])) * p) ** 2).sum().backward()
            norm = float(p.grad.norm())
            optimizer.step()
    assert [w.tape.norm[-1], w.tape.whole["grad_norm"][-1]] == pytest.approx([norm] * 2, rel=1e-6)
    assert str(w.verdict).count("sparse") == 1


@pytest.mark.parametrize("name", ["Adafactor", "Muon", "ASGD", "Rprop"])
def test_every_other_optimizer_of_torch_is_watched_by_copies(name):
    if not hasattr(torch.optim, name):
        pytest.skip(f"{name} is not in the torch that is installed")
    p = torch.nn.Parameter(torch.randn(8, 6))
    optimizer = getattr(torch.optim, name)([p], lr=1e-2)
    with adamx.watch(optimizer, every=1) as w:
        for seed in range(3):
            p.grad = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
            before = p.detach().clone()
            optimizer.step()
    step = float(((p.detach() - before) / 1e-2).square().mean().sqrt())
    assert w.tape.whole["step_rms"][-1] == pytest.approx(step, rel=1e-4)
    assert "weight_decay" not in [c.name for c in w.verdict.causes]


def test_the_hooks_go_with_the_watch():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([p])
    with adamx.watch(optimizer, every=1) as w:
        p.grad = torch.ones(3)
        optimizer.step()
    optimizer.step()
    assert w.tape.steps == 1


def test_parameters_that_change_their_shape_are_refused():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([p], lr=0.1)
    with adamx.watch(optimizer, every=1):
        p.data = torch.ones(5)
        p.grad = torch.ones(5)
        with pytest.raises(InputError, match="changed their shape"):
            optimizer.step()


def test_strides_and_mixed_dtypes_are_measured_too():
    p = torch.nn.Parameter(torch.randn(8, 6).t())
    q = torch.nn.Parameter(torch.randn(8).double())
    optimizer = torch.optim.Adam([p, q], lr=0.1)
    before = p.detach().clone()
    with adamx.watch(optimizer, every=1) as w:
        p.grad, q.grad = torch.randn(8, 6).t(), torch.zeros(8).double()
        optimizer.step()
    step = torch.cat([((before - p.detach()) / 0.1).flatten().double(), torch.zeros(8).double()])
    assert w.tape.whole["step_rms"] == pytest.approx([float(step.square().mean().sqrt())], rel=1e-5)
    assert w.tape.norm[0] == pytest.approx(float(p.grad.norm()), rel=1e-5)


def test_checkpoints_bring_back_the_training_to_the_bit():
    def run(optimizer, params, first):
        for seed in range(first, 30):
            give(params, seed)
            optimizer.step()

    params = parameters()
    optimizer = torch.optim.Adam(params, lr=0.02)
    with adamx.watch(optimizer) as w:
        w.checkpoint(every=10, keep=2)
        run(optimizer, params, 0)
    end = [p.detach().clone() for p in params]
    assert [c.step for c in w.checkpoints] == [20, 30]
    w.checkpoints[0].load(optimizer)
    run(optimizer, params, 20)
    assert all(torch.equal(p, q) for p, q in zip(params, end, strict=True))


@pytest.mark.parametrize("active", [True, False])
def test_a_watch_writes_into_mlflow(opened, active):
    import mlflow

    mlflow.set_tracking_uri(opened.uri)
    mlflow.set_experiment("test")
    if active:
        mlflow.start_run()
    try:
        p = torch.nn.Parameter(torch.ones(20))
        optimizer = torch.optim.SGD([p], lr=0.1)
        with adamx.watch(optimizer, every=5, mlflow=True) as w:
            for _ in range(20):
                p.grad = p.detach().clone()
                optimizer.step()
                w.loss((p**2).sum() / 2)
        assert (mlflow.active_run() is not None) == active
        run = mlflow.get_run(w.recording.run_id)
    finally:
        mlflow.end_run()
    history = opened.client.get_metric_history(run.info.run_id, "watch/grad_norm")
    assert [m.step for m in history] == w.tape.rows == [1, 2, 3, 4, 5, 10, 15, 20]
    assert [m.value for m in history] == pytest.approx(w.tape.whole["grad_norm"])
    assert run.data.tags["watch.cause"] == "healthy" and run.data.metrics["watch/lr"] == pytest.approx(0.1)
    assert {a.path for a in opened.client.list_artifacts(run.info.run_id)} == {"watch.html", "watch.txt"}


def test_the_report_is_a_page(tmp_path):
    _, _, w = trained(MAKERS["sgd"], steps=12)
    made = w.report(tmp_path / "run.html").read_text()
    assert "sharpness" in made and "Healthy" in made
    with pytest.raises(InputError, match=r"an \.html file in a folder that exists"):
        w.report(tmp_path / "nowhere" / "run.html")


def bad_batches(at=30, times=1000.0):
    """Least squares whose batch at one step is out of line, and plain momentum from a state of its own."""
    torch.manual_seed(0)
    truth = torch.randn(5)
    batches = []
    for t in range(120):
        x = torch.randn(16, 5)
        y = x @ truth + 0.1 * torch.randn(16)
        batches.append((x, y + times) if t == at else (x, y))
    params = {"w": truth + 0.05 * torch.randn(5)}
    w = torch.nn.Parameter(params["w"].clone())
    optimizer = torch.optim.SGD([w], lr=0.05, momentum=0.5)
    return params, batches, optimizer.state_dict()


def squares(params, batch):
    x, y = batch
    return ((x @ params["w"] - y) ** 2).mean()


def test_a_run_that_does_not_spike_needs_no_rescue():
    params, batches, state = bad_batches()
    found = adamx.rescue(squares, params, batches, state=state, steps=100)
    assert not found.base.saved
    alone = adamx.rescue(squares, params, [b for t, b in enumerate(batches) if t != 30], state=state, steps=100)
    assert alone.base.saved and "Nothing to rescue" in str(alone)


def test_an_lr_over_the_edge_is_rescued_by_less_of_it_alone():
    h = torch.tensor([1.0, 0.1])

    def loss(params, batch):
        return 0.5 * (h * params["x"] ** 2).sum() + 1e-3

    x = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([x], lr=2.5)  # the limit is 2
    found = adamx.rescue(loss, {"x": x}, [None] * 80, state=optimizer.state_dict(), steps=80)
    assert not found.base.saved
    lr = found.answers["lr down"]
    assert lr.change.said == "1.75" and found.answers["lr up"] is None and found.answers["precision"] is None
    assert "lr down" in str(found) and len(found.figure().data) >= 2
    assert torch.equal(x, torch.ones(2))  # theirs is left alone


def test_a_rescue_that_cannot_be_made_is_one_line():
    params, batches, state = bad_batches()
    with pytest.raises(InputError, match="batches has 3: 20 are needed"):
        adamx.rescue(squares, params, batches[:3], state=state, steps=20)
    with pytest.raises(InputError, match="params has 2 tensors, the state_dict is of 1"):
        adamx.rescue(squares, {**params, "b": params["w"]}, batches, state=state, steps=20)
