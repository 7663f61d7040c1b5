"""The contract of a model: what a task trains, behind one description and a few functions. A family is one file.

A family is a frozen dataclass derived from `Family`, such as `mlp.Mlp`. Its fields and properties say in plain Python
what a backend needs to know before it runs anything; `functions` gives what its kernels call. All that is a size is a
run-time value (`sizes`, `tensors`), so that one compiled kernel serves every size; what changes the code is in `kind`.

The numbers that the functions work on are flat arrays of the kernel's dtype:

    x       (parameters,) tensor after tensor, in the order of `tensors`
    acts    what the way up keeps, `Row.acts` numbers a row: at its beginning the features of all rows (rows,
            features), somewhere the outputs (rows, outputs), and whatever else the family keeps
    slopes  the gradient of the loss by some of these, `Row.slopes` numbers a row: at least by the outputs

`count` rows, at most the capacity that the arrays were made for, go through the model at a time; where something lies
follows from count, not from the capacity. A team of workers shares every loop (`adamx.portable.team`), and what a
function writes can be read by every worker once it returns. The loss of the outputs is not the model's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from adamx.portable.team import Team


class Row(NamedTuple):
    """Numbers of scratch that a family takes for each row that goes through it at a time."""

    acts: int
    slopes: int
    tangents: int = 0  # besides as many as slopes, of a family that has a `Curvature`


class Scratch(NamedTuple):
    """Scratch for a gradient or a score, for `capacity` rows at a time. All flat, with any content.

    acts and slopes are (capacity * Row.acts,) and (capacity * Row.slopes,); rows (capacity,) int64, the positions of
    the rows in the data; part (parameters,) is used where a batch has more than `capacity` rows.
    """

    capacity: int
    acts: Any
    slopes: Any
    rows: Any
    part: Any


class Tangents(NamedTuple):
    """More for a product with the Hessian, flat, with any content: derivatives along a direction, R{}.

    acts (capacity * Row.tangents,) are of acts, slopes (capacity * Row.slopes,) of slopes; other (parameters,). Both
    have those of the outputs where `Scratch.slopes` has them.
    """

    acts: Any
    slopes: Any
    other: Any


class Functions(NamedTuple):
    """The functions that a kernel calls. `sizes` is the family's own, int64.

    Attributes:
        start: (x, sizes, seed): the parameters of a run; draws are `rng.bits(seed, rng.WEIGHTS, 0, i)` of parameter i.
        outputs: (sizes, count) -> where the outputs begin in acts, and their slopes in slopes.
        forward: (x, sizes, acts, count): fill acts, whose features are there, up to the outputs.
        backward: (x, sizes, acts, slopes, count, g): g (parameters,) becomes the gradient, from acts as `forward` left
            them and the slopes of the outputs. Both may be overwritten.
    """

    start: Callable[..., Any]
    outputs: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


class Curvature(NamedTuple):
    """The same derived along a direction u (parameters,), for products with the Hessian (Pearlmutter 1994).

    Attributes:
        ahead: (x, u, sizes, acts, tangents, count): after `forward`, fill tangents.acts up to R{outputs}.
        back: (x, u, sizes, scratch, tangents, count, out): out (parameters,) becomes R{gradient}, from the slopes of
            the outputs and R{} of them. All scratch may be overwritten.
    """

    ahead: Callable[..., Any]
    back: Callable[..., Any]


class Family(ABC):
    """A model of one family and its sizes. Hashable, and equal to what is the same model."""

    @property
    @abstractmethod
    def kind(self) -> Family:
        """The model without its sizes: what a kernel is compiled for."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of its kind, for the file of a compiled kernel."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, ...]:
        """The whole numbers that its functions are given."""

    @property
    @abstractmethod
    def tensors(self) -> tuple[int, ...]:
        """The numbers of parameters of each tensor, in their order: what a rule with a `pool` averages over."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs a row."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """Its scratch."""

    @property
    @abstractmethod
    def content(self) -> tuple[Any, ...]:
        """The parts that distinguish it from every other model, for the digest of a task."""

    @abstractmethod
    def functions(self, dtype: str, team: Team) -> Functions:
        """Its portable functions for a dtype, to be inlined in a kernel. They depend on its kind alone."""

    def curvature(self, dtype: str, team: Team) -> Curvature | None:
        """The same for products with the Hessian; without them a family has no instrument `sharpness`."""
        return None

    @property
    def seeded(self) -> bool:
        """True if it starts elsewhere with another seed."""
        return True

    @property
    def dim(self) -> int:
        """The number of parameters."""
        return sum(self.tensors)
