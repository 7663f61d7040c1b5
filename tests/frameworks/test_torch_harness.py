"""torch's own harness for optimizers on ours: its parameters, its inputs and its error inputs."""

from __future__ import annotations

import itertools
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # which torch's harness imports

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal import common_optimizers as harness
    from torch.testing._internal.common_device_type import instantiate_device_type_tests
    from torch.testing._internal.common_utils import TestCase

from adamx.torch import Optimizer  # noqa: E402


def named(rule):
    """A class that torch's harness can construct: the rule is part of it."""

    def begin(self, params, **hyper):
        Optimizer.__init__(self, params, rule, **hyper)

    return type(f"Adamx_{rule}", (Optimizer,), {"__init__": begin, "__module__": __name__})


def inputs(rule):
    def made(device, dtype=None):
        kinds = [{}, {"lr": 0.01}, {"lr": torch.tensor(0.01)}, {"lr": 0.01, "maximize": True}]
        return [harness.OptimizerInput(params=None, kwargs=k, desc=f"{rule} {k}") for k in kinds]

    return made


def errors(device, dtype):
    wrong = harness.OptimizerInput(params=None, kwargs={"lr": -0.5}, desc="lr below 0")
    return [
        *harness.get_error_inputs_for_all_optims(device, dtype),
        harness.ErrorOptimizerInput(wrong, error_type=ValueError, error_regex="lr > 0 is needed"),
    ]


INFOS = [
    harness.OptimizerInfo(
        named(rule),
        optim_inputs_func=inputs(rule),
        optim_error_inputs_func=errors,
        supported_impls=(),
        supports_complex=False,
    )
    for rule in ("adam", "lamb", "adopt")
]


class TestAdamx(TestCase):
    @harness.optims(INFOS, dtypes=[torch.float64])
    def test_errors(self, device, dtype, optim_info):
        for error in optim_info.optim_error_inputs_func(device=device, dtype=dtype):
            given = error.optimizer_error_input
            params = given.params if given.params is not None else [torch.nn.Parameter(torch.ones(1, dtype=dtype))]
            if issubclass(error.error_type, Warning):
                with self.assertWarnsRegex(error.error_type, error.error_regex):
                    optim_info.optim_cls(params, **given.kwargs)
            else:
                with pytest.raises(error.error_type, match=error.error_regex):
                    optim_info.optim_cls(params, **given.kwargs)

    @harness.optims(INFOS, dtypes=[torch.float64])
    def test_goes_right_direction(self, device, dtype, optim_info):
        for given, schedule in itertools.product(optim_info.optim_inputs_func(device), (None, *SCHEDULES)):
            torch.manual_seed(0)
            weight = torch.nn.Parameter(torch.randn((10, 5), device=device, dtype=dtype))
            bias = torch.nn.Parameter(torch.randn(10, device=device, dtype=dtype))
            one = torch.randn(5, device=device, dtype=dtype)
            optimizer = optim_info.optim_cls([weight, bias], **given.kwargs)
            scheduler = schedule and schedule(optimizer)
            sign = -1 if given.kwargs.get("maximize") else 1

            def closure(optimizer=optimizer, weight=weight, bias=bias, one=one, sign=sign):
                optimizer.zero_grad()
                loss = sign * (weight.mv(one) + bias).pow(2).sum()
                (sign * loss).backward()
                return loss

            first = closure().item()
            for _ in range(20):
                loss = optimizer.step(closure)
                if scheduler:
                    scheduler.step(*([loss.detach()] if "Plateau" in type(scheduler).__name__ else []))
            assert closure().item() < first

    @harness.optims(INFOS, dtypes=[torch.float64])
    def test_state_dict_is_the_same_every_time(self, device, dtype, optim_info):
        for given in optim_info.optim_inputs_func(device):
            p = torch.nn.Parameter(torch.ones(3, dtype=dtype))
            optimizer = optim_info.optim_cls([p], **given.kwargs)
            p.grad = torch.ones_like(p)
            optimizer.step()
            assert str(optimizer.state_dict()) == str(optimizer.state_dict())


SCHEDULES = [
    lambda o: torch.optim.lr_scheduler.StepLR(o, gamma=0.9, step_size=10),
    lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
    lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=5),
    lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.9),
]
instantiate_device_type_tests(TestAdamx, globals(), only_for="cpu")
