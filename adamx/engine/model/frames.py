"""Frames: the operations of torch and jax that a training needs, under the same names.

Every leaf of the parameters is an array (runs, ...); leaves come as a tuple, in the framework's own order.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

import numpy as np

from adamx.problems._model import Model


class InTorch:
    """torch. Tensors are on the device that init(seed) puts them on."""

    def __init__(self, model: Model, dtype: str) -> None:
        self.torch: Any = importlib.import_module("torch")
        first = model.init(0)
        self.model, self.dtype = model, getattr(self.torch, dtype)
        self.names, self.device = list(first), next(iter(first.values())).device
        self.exact: Any = nullcontext

    def leaves(self, seed: int) -> list[np.ndarray]:
        """The parameters that a seed starts from."""
        return [leaf.detach().double().cpu().numpy() for leaf in self.model.init(seed).values()]

    def put(self, array: Any) -> Any:
        """An array as the framework's: real numbers in the training's type."""
        tensor = array if isinstance(array, self.torch.Tensor) else self.torch.from_numpy(np.array(array))
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)

    def real(self, t: Any) -> Any:
        """A step's number as a real one."""
        return float(t)

    def get(self, array: Any) -> np.ndarray:
        """An array of the framework as NumPy's."""
        return array.detach().cpu().numpy() if isinstance(array, self.torch.Tensor) else np.asarray(array)

    def _loss(self, leaves: Any, batch: Any) -> Any:
        return self.model.loss(dict(zip(self.names, leaves, strict=True)), batch)

    def gradients(self, shared: bool) -> Callable[..., Any]:
        """f(leaves, batch): the loss of every run, and its gradient. shared: the batch is one for all runs."""
        func = self.torch.func
        stacked = func.vmap(func.grad_and_value(self._loss), in_dims=(0, None if shared else 0))

        def both(leaves: Any, batch: Any) -> Any:
            g, value = stacked(leaves, batch)
            return value.detach(), tuple(part.detach() for part in g)

        return both

    def losses(self, leaves: Any, batch: Any) -> Any:
        """The loss of every run on one batch."""
        with self.torch.no_grad():
            return self.torch.func.vmap(self._loss, in_dims=(0, None))(leaves, batch)

    def curvature(self, leaves: Any, along: Any, batch: Any) -> Any:
        """H u of every run, the Hessian of its loss times the leaves of u."""
        func = self.torch.func

        def one(leaves: Any, along: Any) -> Any:
            slope = func.grad(lambda leaves: self._loss(leaves, batch))
            return func.jvp(slope, (leaves,), (along,))[1]

        with warnings.catch_warnings():  # torch's own first jvp calls what it warns of
            warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated")
            return tuple(part.detach() for part in func.vmap(one)(leaves, along))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that is called for many steps."""
        return function

    def segment(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """f(given, carry, times, rows): the carry after these steps."""

        def several(given: Any, carry: Any, times: np.ndarray, rows: tuple[np.ndarray, ...]) -> Any:
            for t, *some in zip(times.tolist(), *map(self.put, rows), strict=True):
                carry = step(given, carry, t, some)
            return carry

        return several


class InJax:
    """jax, with float64 where it is asked for. All steps between two records are one scan."""

    def __init__(self, model: Model, dtype: str) -> None:
        self.jax: Any = importlib.import_module("jax")
        self.model, self.dtype = model, dtype
        self.structure = self.jax.tree.structure(model.init(0))
        self.exact = partial(self.jax.enable_x64, True)

    def leaves(self, seed: int) -> list[np.ndarray]:
        return [np.asarray(leaf, np.float64) for leaf in self.jax.tree.leaves(self.model.init(seed))]

    def put(self, array: Any) -> Any:
        array = np.asarray(array)
        return self.jax.numpy.asarray(array, self.dtype if np.issubdtype(array.dtype, np.floating) else None)

    def real(self, t: Any) -> Any:
        return self.jax.numpy.asarray(t, self.dtype)

    def get(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def _loss(self, leaves: Any, batch: Any) -> Any:
        return self.model.loss(self.structure.unflatten(leaves), batch)

    def gradients(self, shared: bool) -> Callable[..., Any]:
        return self.jax.vmap(self.jax.value_and_grad(self._loss), in_axes=(0, None if shared else 0))

    @cached_property
    def losses(self) -> Callable[..., Any]:
        return self.jax.jit(self.jax.vmap(self._loss, in_axes=(0, None)))

    @cached_property
    def curvature(self) -> Callable[..., Any]:
        def one(leaves: Any, along: Any, batch: Any) -> Any:
            slope = self.jax.grad(lambda leaves: self._loss(leaves, batch))
            return self.jax.jvp(slope, (leaves,), (along,))[1]

        return self.jax.jit(self.jax.vmap(one, in_axes=(0, 0, None)))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.jax.jit(function)

    def segment(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def several(given: Any, carry: Any, times: Any, rows: Any) -> Any:
            return self.jax.lax.scan(lambda c, at: (step(given, c, *at), None), carry, (times, rows))[0]

        return self.jax.jit(several)


FRAMES: dict[str, Any] = {"torch": InTorch, "jax": InJax}
