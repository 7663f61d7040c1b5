"""Steps: an update rule on someone's own arrays, in place, all tensors in one launch.

    stepper = adamx.Stepper("adam", params, lr=1e-3, eps=1e-8)
    stepper.step(grads)                      # params have changed
    stepper.step(grads, lr=5e-4)             # from here on with another lr

NumPy arrays and torch tensors on the CPU are updated by all cores; torch, CuPy and other arrays on a GPU there, without
a copy. Arithmetic is that of the arrays, float32 or float64, and the same as in a sweep.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from adamx.engine.stepper import tiles
from adamx.engine.stepper.clock import clockwork
from adamx.engine.stepper.tensors import ITEMSIZE, Extents, Tensor, describe, listed
from adamx.engine.stepper.tiles import Tiling
from adamx.inputs.errors import InputError, unknown
from adamx.optimizers import check, rule

LAUNCHERS = {"cpu": "adamx.engine.stepper.cpu", "cuda": "adamx.engine.stepper.cuda"}


class Stepper:
    """Applies a rule to params, step by step; its state is its own.

    Args:
        optimizer: a name in `adamx.optimizers`, or the path of a file with a rule.
        params: one array or several: float32 or float64, all of one dtype, in C order, on the CPU or one GPU, none
            overlapping another. They must stay where they are. torch does not notice that they change: a step belongs
            behind backward(), as with torch's own. jax arrays cannot be params: jax takes it that nothing changes them.
        hyper: hyperparameters by name; what is not named has the rule's default.

    Attributes:
        hyper: the hyperparameters of the last step, or of the next where there was none.
        t: the number of steps taken.

    Raises:
        InputError: (a ValueError) what is typed cannot be used; nothing has changed.

    Example:
        >>> import numpy as np, adamx
        >>> x = np.array([1.0, -2.0])
        >>> stepper = adamx.Stepper("sgd", x, lr=0.25)
        >>> stepper.step(2 * x)
        >>> x
        array([ 0.5, -1. ])
    """

    def __init__(self, optimizer: str, params: Any, **hyper: float) -> None:
        self._rule = rule(optimizer)
        self._params = listed(params)
        self._tensors = describe(self._params, "params")
        if not self._tensors:
            raise InputError("params is empty: at least one array is needed")
        for i, tensor in enumerate(self._tensors):
            if not tensor.writable:
                raise InputError(f"params[{i}] is read-only, as jax arrays are: it cannot change in place")
        self._extents = Extents(self._tensors, "params")
        self.t, self.hyper = 0, self._checked(hyper)
        dtype, self._device = self._tensors[0].dtype, self._tensors[0].device
        h = self._rule.Hyper(**self.hyper)
        self._time = clockwork(self._rule, dtype)
        self._numbers = self._time.column(h, self._rule.initial_clock(h))
        self._tiling = Tiling([tensor.shape for tensor in self._tensors])
        self._at = np.array([tensor.address for tensor in self._tensors])
        self._grads_at = np.array([-1])  # nowhere yet
        state = np.zeros((len(self._tiling.tensors), len(self._rule.State._fields), tiles.TILE), dtype)
        for field, start in enumerate(self._rule.initial_state(h)):
            if start != 0:
                state[:, field] = start
        launchers = importlib.import_module(LAUNCHERS[self._device])
        self._launcher = launchers.Launcher(self._rule, self._tiling, state, self._extents.begin)

    def _checked(self, hyper: Mapping[str, Any]) -> Mapping[str, float]:
        for name in hyper:
            if name not in self._rule.defaults:  # those of schedules are the caller's to compute
                raise unknown(f"hyperparameter of {self._rule.name}", name, self._rule.defaults)
        columns = check(self._rule, hyper)
        if len(columns["lr"]) > 1:
            raise InputError("a Stepper needs one number for every hyperparameter; arrays of them are for a sweep")
        return MappingProxyType({name: float(columns[name][0]) for name in self._rule.defaults})

    def step(self, grads: Any, stream: Any = None, **hyper: float) -> None:
        """Update the params by their gradients, on a GPU in the background.

        Args:
            grads: as many arrays as params, of the same shapes and dtype, on the same device; jax arrays too.
            stream: on a GPU, the CUDA stream to work on: its handle, an int (such as
                `torch.cuda.current_stream().cuda_stream`), or an object with `__cuda_stream__`. The arrays must be
                ready on it. None is CUDA's legacy default stream, which is also the one torch and CuPy begin with.
            hyper: hyperparameters to change from this step on.

        Raises:
            InputError: something cannot be used; nothing has changed.
        """
        arrays = listed(grads)
        tensors = describe(arrays, "grads")
        self._match(tensors)
        changed = self._checked({**self.hyper, **hyper}) if hyper else self.hyper
        handle = self._handle(stream)
        self._place(tensors, handle)
        self.t, self.hyper = self.t + 1, changed
        self._time.advance(self._numbers, self._rule.Hyper(**self.hyper), self.t)
        if len(self._tiling.tensors):
            self._launcher.step(self._numbers, handle)
            if hasattr(arrays[0], "block_until_ready"):  # jax may use their memory again as soon as they are let go
                self._launcher.wait(handle)

    def _match(self, grads: list[Tensor]) -> None:
        """Raise InputError unless the gradients are those of the params, which are where they were."""
        if len(grads) != len(self._tensors):
            raise InputError(f"there are {len(grads)} gradients for {len(self._tensors)} params: one each is needed")
        if (grads[0].dtype, grads[0].device) != (self._tensors[0].dtype, self._device):
            raise InputError(
                f"grads are {grads[0].dtype} on {grads[0].device}, params {self._tensors[0].dtype} on {self._device}"
            )
        for i, (array, param, grad) in enumerate(zip(self._params, self._tensors, grads, strict=True)):
            if grad.shape != param.shape:
                raise InputError(f"grads[{i}] has the shape {tuple(grad.shape)}, params[{i}] {tuple(param.shape)}")
            if hasattr(array, "data_ptr") and array.data_ptr() != param.address:  # torch can give it other memory
                raise InputError(f"params[{i}] has moved since the Stepper was made: make a new one, with its state")

    def _handle(self, stream: Any) -> int:
        if stream is not None and self._device == "cpu":
            raise InputError("a stream is for arrays on a GPU; these are on the CPU")
        if hasattr(stream, "__cuda_stream__"):
            return int(stream.__cuda_stream__()[1])
        if stream is not None and not isinstance(stream, int):
            raise InputError(f"stream is {stream!r}: an int or an object with __cuda_stream__ is needed")
        return stream or 0

    def _place(self, grads: list[Tensor], stream: int) -> None:
        """Write into the table where the tensors are, if that has changed since the last step."""
        at = np.array([grad.address for grad in grads])
        if np.array_equal(at, self._grads_at):
            return
        self._extents.apart(grads, "grads")
        placed = self._tiling.place(self._at, at, ITEMSIZE[grads[0].dtype])
        if placed:
            self._launcher.place(*placed, stream)
        self._grads_at = at

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that the next step depends on besides params and gradients, for `numpy.savez` and `load_state_dict`.

        Returns:
            t; hyper.NAME; clock.NAME, what depends on time; state.NAME, (elements,) one tensor after another.
        """
        used, state = self._tiling.used(), self._launcher.read()
        clock = self._time.load_clock(self._numbers, 0)
        return {
            "t": np.array(self.t),
            **{f"hyper.{name}": np.array(value) for name, value in self.hyper.items()},
            **{f"clock.{name}": np.array(value) for name, value in clock._asdict().items()},
            **{f"state.{name}": state[:, k][used] for k, name in enumerate(self._rule.State._fields)},
        }

    def load_state_dict(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state_dict` returned, or from the file it was saved to.

        Raises:
            InputError: it is of another rule, of params of other sizes or of another dtype; nothing has changed.
        """
        own = self.state_dict()
        for name in {**own, **dict.fromkeys(saved)}:
            if name not in own or name not in saved:
                raise InputError(f"the saved state is not of {self._rule.name}: {name!r} is in one of them alone")
            mine, its = own[name], np.asarray(saved[name])
            if (mine.shape, mine.dtype) != (its.shape, its.dtype):
                raise InputError(
                    f"{name!r} of the saved state is {its.dtype} of shape {its.shape}: {mine.dtype} of shape "
                    f"{mine.shape} is needed"
                )
        hyper = self._checked({name: saved[f"hyper.{name}"] for name in self.hyper})
        used, state = self._tiling.used(), np.array(self._launcher.read())
        for k, name in enumerate(self._rule.State._fields):
            state[:, k][used] = saved[f"state.{name}"]
        self._launcher.write(state)
        clock = self._rule.Clock(*(saved[f"clock.{name}"] for name in self._rule.Clock._fields))
        self.t, self.hyper = int(saved["t"]), hyper
        self._numbers = self._time.column(self._rule.Hyper(**hyper), clock)
