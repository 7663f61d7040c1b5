"""Where the memory of someone's arrays lies: NumPy, torch, CuPy, jax and whatever speaks DLPack, without a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from adamx.inputs.errors import InputError

ITEMSIZE = {"float32": 4, "float64": 8}  # dtypes that can be updated
DEVICES = ("cpu", "cuda")
HOST, CUDA = (1, 3), (2, 13)  # DLPack's numbers for memory that the CPU reads (pinned too), and a CUDA device (managed)


class Tensor(NamedTuple):
    """One array: its address in bytes, shape, dtype and device, as its library calls them."""

    address: int
    shape: Sequence[int]
    dtype: str
    device: str
    contiguous: bool = True
    writable: bool = True


@cache
def _name(dtype: object) -> str:
    """torch.float32, dtype("float32") and "<f4" are "float32"."""
    typed = str(dtype).removeprefix("torch.")
    return str(np.dtype(typed)) if typed[:1] in "<>|" else typed


def read(array: Any) -> Tensor:
    """The array's own description of its memory.

    Raises:
        TypeError, or what the array raises: it has none that could be shared.
    """
    if hasattr(array, "data_ptr"):  # torch: its protocols refuse parameters, which need gradients, and are slow
        device = "cuda" if array.is_cuda else "cpu" if array.is_cpu else array.device.type
        return Tensor(array.data_ptr(), array.shape, _name(array.dtype), device, array.is_contiguous())
    if hasattr(array, "block_until_ready"):  # jax: the address comes before the numbers
        array.block_until_ready()
    interface, device = getattr(array, "__cuda_array_interface__", None), "cuda"
    if interface is None and isinstance(array, np.ndarray):
        interface, device = array.__array_interface__, "cpu"
    if interface is None and getattr(array, "__cuda_ndarray__", False):  # an array of CUDA's simulator
        interface = array.__array_interface__
    if interface is not None:
        return _described(interface, device)
    if not hasattr(array, "__dlpack__"):
        raise TypeError(f"{type(array).__name__} is no array that shares its memory")
    kind = array.__dlpack_device__()[0]
    if kind in HOST:
        return _described(np.from_dlpack(array).__array_interface__, "cpu")
    if kind not in CUDA:
        raise TypeError(f"the memory of DLPack's device {int(kind)} cannot be reached")
    from cuda.core.utils import StridedMemoryView

    view = StridedMemoryView.from_dlpack(array, stream_ptr=-1)
    return Tensor(
        view.ptr, view.shape, _name(view.dtype), "cuda", _compact(view.shape, view.strides, 1), not view.readonly
    )


def _described(interface: Any, device: str) -> Tensor:
    """The Tensor of an array interface; NumPy's and CUDA's have the same fields."""
    (address, read_only), shape, typestr = interface["data"], interface["shape"], interface["typestr"]
    compact = _compact(shape, interface.get("strides"), np.dtype(typestr).itemsize)
    return Tensor(address or 0, shape, _name(typestr), device, compact, not read_only)


def _compact(shape: Sequence[int], strides: Sequence[int] | None, itemsize: int) -> bool:
    """True if elements follow one another in C order."""
    if strides is None or 0 in shape:
        return True
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != itemsize:
            return False
        itemsize *= length
    return True


def listed(arrays: Any) -> list[Any]:
    """A list of arrays from one array, a list or what a generator yields."""
    return list(arrays) if isinstance(arrays, (list, tuple, Iterator)) else [arrays]


def describe(arrays: Sequence[Any], what: str) -> list[Tensor]:
    """The Tensors of arrays in C order, of one float dtype and on one device.

    Raises:
        InputError: something else is among them; `what` names the list.
    """
    tensors: list[Tensor] = []
    for i, array in enumerate(arrays):
        try:
            tensor = read(array)
        except Exception as error:  # a library's own words about a sparse, deleted or scattered array
            raise InputError(f"{what}[{i}] cannot be used: {error}") from None
        first = tensors[0] if tensors else tensor
        if tensor.device not in DEVICES:
            raise InputError(f"{what}[{i}] is on {tensor.device}: {' or '.join(DEVICES)} is needed")
        if tensor.dtype not in ITEMSIZE:
            raise InputError(f"{what}[{i}] is {tensor.dtype}: {' or '.join(ITEMSIZE)} is needed")
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise InputError(
                f"{what}[{i}] is {tensor.dtype} on {tensor.device}, {what}[0] {first.dtype} on {first.device}: "
                "one dtype and one device are needed"
            )
        if not tensor.contiguous:
            raise InputError(f"{what}[{i}] is not contiguous: an array in C order without gaps is needed")
        if tensor.address % ITEMSIZE[tensor.dtype]:
            raise InputError(f"{what}[{i}] is not aligned: its address is no multiple of {ITEMSIZE[tensor.dtype]}")
        tensors.append(tensor)
    return tensors


class Extents:
    """The first byte of every tensor and the byte behind its last, in the order of addresses, of those that have any.

    Raises:
        InputError: two overlap.
    """

    def __init__(self, tensors: Sequence[Tensor], what: str) -> None:
        self.what = what
        begin, end = self._of(tensors)
        self.order = np.flatnonzero(end > begin)
        self.order = self.order[np.argsort(begin[self.order])]
        self.begin, self.end = begin[self.order], end[self.order]
        for i in np.flatnonzero(self.end[:-1] > self.begin[1:]):
            raise InputError(f"{what}[{self.order[i]}] and {what}[{self.order[i + 1]}] overlap in memory")

    @staticmethod
    def _of(tensors: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        begin = np.array([tensor.address for tensor in tensors])
        return begin, begin + np.array([prod(tensor.shape) * ITEMSIZE[tensor.dtype] for tensor in tensors])

    def apart(self, others: Sequence[Tensor], what: str) -> None:
        """Raise InputError if one of the others shares memory with these."""
        begin, end = self._of(others)
        before = np.searchsorted(self.begin, end) - 1  # the last of these that begins before the other ends
        for i in np.flatnonzero((end > begin) & (before >= 0) & (self.end[before] > begin)):
            raise InputError(f"{what}[{i}] and {self.what}[{self.order[before[i]]}] overlap in memory")


def memory(address: int, span: int, dtype: Any) -> dict[str, Any]:
    """The array interface of all memory from an address on, `span` elements of it."""
    return {"data": (address, False), "shape": (span,), "typestr": np.dtype(dtype).str, "strides": None, "version": 3}
