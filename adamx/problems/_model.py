"""A model of one's own as a problem: a loss in torch or jax, its parameters and its data.

adamx.simulate("adam", adamx.Model(loss=loss, init=init, data=(x, y), batch=64), adamx.grid(lr=rates), steps=2000)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np

from adamx.inputs.errors import InputError
from adamx.inputs.files import Source
from adamx.portable.content import identity
from adamx.regimes import Criteria, of_batches


@dataclass(frozen=True, eq=False)
class Model:
    """A loss of parameters on a batch of rows.

    Attributes:
        loss: f(params, batch) -> the mean loss of the rows, a scalar, in torch or jax.
        init: f(seed) -> params: for torch a dict of tensors, for jax any tree of arrays. Runs of a seed share them.
        data: arrays with a row each along their first axis, or a torch Dataset, which is read once: a batch is a tuple
            of some of their rows. Or f(seed, step) -> the batch of that step, a tuple of arrays of the same shapes at
            every step; the recorded loss is then that of `held`.
        batch: rows of a minibatch, drawn with replacement, the same for all runs of a seed; None is all rows.
        held: (x, y, ...) the rows of the recorded loss where data is a function.
        target: the gap that counts as reached.
    """

    loss: Callable[[Any, Any], Any]
    init: Callable[[int], Any]
    data: Any
    batch: int | None = None
    target: float = 1e-2
    held: tuple[Any, ...] | None = None
    name: str = "model"
    settings: Mapping[str, Any] = field(default_factory=dict)
    setup: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    minimum: float = 0.0
    source: Source | None = None
    seeded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.streams:
            if self.held is None or self.batch is not None:
                raise InputError(
                    "data is a function: held=(x, y) gives the rows of the recorded loss, and batch is None"
                )
            _check_rows("held", self.held)
            return
        if self.held is not None:
            raise InputError("held is of data that is a function: of rows, all are the recorded loss's")
        if hasattr(self.data, "__getitem__") and not isinstance(self.data, (tuple, list, np.ndarray)):
            object.__setattr__(self, "data", _read(self.data))
        count = _check_rows("data", self.data)
        most = isinstance(self.batch, (int, np.integer)) and not isinstance(self.batch, bool)
        if self.batch is not None and not (most and 1 <= self.batch <= count):
            raise InputError(f"batch is {self.batch!r}: a whole number from 1 to {count}, or None for all rows")

    @classmethod
    def of(cls, module: Any, loss_fn: Callable[[Any, Any], Any], data: tuple[Any, Any], **options: Any) -> Model:
        """The model of a torch.nn.Module.

        Args:
            module: a module, whose layers every seed draws anew with `reset_parameters`, so that they start as torch
                starts them; what has no such method stays as it is. Or a function that makes one, such as
                `lambda: GPT(config)`, called after torch's seed is set: it starts as its own code says.
                Parameters with requires_grad=False keep their values and are not trained.
            loss_fn: f(outputs, targets) -> scalar, such as `torch.nn.functional.cross_entropy`.
            data: (inputs, targets).
            options: those of Model, such as batch.
        Raises:
            InputError: no module; a layer draws random numbers (dropout) or changes buffers (BatchNorm) in a step.
        """
        import copy

        import torch

        make = None if isinstance(module, torch.nn.Module) else module
        module = make() if callable(make) else module
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"module is {type(module).__name__}: a torch.nn.Module, or a function that makes one")

        if not any(p.requires_grad for p in module.parameters()):
            raise InputError("module has no parameter that is trained: each has requires_grad=False")
        for name, layer in module.named_modules():
            kind = type(layer).__name__
            if getattr(layer, "track_running_stats", False):
                raise InputError(f"{name or 'module'} is {kind}, whose buffers change: use GroupNorm or LayerNorm")
            dropped = getattr(layer, "p", 0) if "Dropout" in kind else getattr(layer, "dropout", 0)
            if isinstance(dropped, float) and dropped > 0:
                raise InputError(f"{name or 'module'} is {kind} with dropout {dropped:g}: set it to 0")

        def init(seed: int) -> dict[str, Any]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                fresh = make() if make else copy.deepcopy(module)
                if not make:
                    fresh.apply(_redrawn)  # a layer after those that it is made of
            return {name: p.detach() for name, p in fresh.named_parameters() if p.requires_grad}

        def loss(params: Any, batch: Any) -> Any:
            inputs, targets = batch
            return loss_fn(torch.func.functional_call(module, params, (inputs,)), targets)

        return cls(loss, init, data, **options)

    @cached_property
    def _first(self) -> tuple[str, list[Any]]:
        """The library, torch or jax, and the leaves of the parameters of seed 0."""
        params = self.init(0)
        leaves = list(params.values()) if isinstance(params, dict) else []
        if leaves and all(type(leaf).__module__.startswith("torch") for leaf in leaves):
            return "torch", leaves
        try:
            import jax
        except ImportError:
            raise InputError("init gives no dict of torch tensors, and jax, for other trees, is not here") from None
        return "jax", jax.tree.leaves(params)

    @property
    def example(self) -> tuple[str, list[tuple[int, ...]]]:
        """The library, torch or jax, and the shape of every leaf of the parameters."""
        name, leaves = self._first
        return name, [tuple(np.shape(leaf)) for leaf in leaves]

    @property
    def streams(self) -> bool:
        """True if the batches are a function's."""
        return callable(self.data)

    @cached_property
    def drawn(self) -> int | None:
        """The rows of a minibatch; None where every step has all rows."""
        return self._shapes[0][0] if self.streams else self.batch

    def made(self, seed: int, step: int) -> list[np.ndarray]:
        """The batch that the function of data gives."""
        arrays = _arrays(self.data(seed, step))
        if [array.shape for array in arrays] != self._shapes:
            said = f"data({seed}, {step}) has shapes {[array.shape for array in arrays]}"
            raise InputError(f"{said}, and data(0, 0) has {self._shapes}: the same at every step are needed")
        return arrays

    @cached_property
    def _shapes(self) -> list[tuple[int, ...]]:
        return [array.shape for array in _arrays(self.data(0, 0))]

    @property
    def rows(self) -> tuple[Any, ...]:
        """The arrays that the recorded loss is of."""
        return self.held if self.held is not None else self.data

    @cached_property
    def trainings(self) -> dict[Any, Any]:
        """What the engine has made to train it, for the next chunk."""
        return {}

    @cached_property
    def ways(self) -> dict[Any, str]:
        """The engines that were found to be the faster ones."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("trainings", "ways")}

    @property
    def dim(self) -> int:
        """The number of parameters."""
        return sum(map(prod, self.example[1]))

    @property
    def criteria(self) -> Criteria:
        """The thresholds of its regimes."""
        return of_batches(self.target, self.drawn, self.thresholds)

    @cached_property
    def digest(self) -> str:
        """The content of what is minimised: code of loss and init, parameters of seed 0, data and size of the batch."""
        stream = (self.data,) if self.streams else ()
        return identity(self.loss, self.init, *self._first, *self.rows, *stream, self.batch, self.minimum)


def _check_rows(name: str, arrays: Any) -> int:
    """How many rows some arrays have."""
    if not isinstance(arrays, (tuple, list)) or not arrays:
        raise InputError(f"{name} is {type(arrays).__name__}: a tuple of arrays is needed, such as (x, y)")
    rows = {len(array) for array in arrays}
    if len(rows) > 1 or 0 in rows:
        raise InputError(f"the arrays of {name} have {sorted(rows)} rows: as many each, and one at least, are needed")
    return rows.pop()


def _arrays(batch: Any) -> list[np.ndarray]:
    """The batch that a user's function gives, as NumPy's."""
    _check_rows("a batch of data(seed, step)", batch)
    return [np.asarray(part) for part in batch]


def _read(dataset: Any) -> tuple[Any, ...]:
    """All rows of a torch Dataset."""
    from torch.utils.data import default_collate

    try:
        read = default_collate([dataset[row] for row in range(len(dataset))])
    except (TypeError, RuntimeError) as error:  # as torch says that rows differ, or that there is no len
        said = f"data is a {type(dataset).__name__} that is not read as rows of one shape: {error}".splitlines()[0]
        raise InputError(said) from error
    return tuple(read) if isinstance(read, (tuple, list)) else (read,)


def _redrawn(layer: Any) -> None:
    """Draw the parameters of a layer anew, as torch's layers do when they are made."""
    for name in ("reset_parameters", "_reset_parameters"):  # the second is MultiheadAttention's and Transformer's own
        getattr(layer, name, lambda: None)()
