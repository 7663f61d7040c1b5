"""Packing: arrays as text for a page, which report.js unpacks: bytes sorted by significance, gzip, base64."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping

import numpy as np

KEPT_BITS = 20  # of a float64's mantissa: 6 digits, and the zeros behind them pack to nothing


def pack(meta: object, arrays: Mapping[str, np.ndarray]) -> str:
    """Anything that JSON can say, and arrays by name, as base64 text (which has no character that HTML minds).

    Gzipped is: the length of a header (uint32), the header {meta, arrays: [[name, dtype, length]]}, and the arrays,
    each as its numbers' first bytes, then all second bytes, ...; little-endian.
    """
    said = {"meta": meta, "arrays": [[name, a.dtype.name, a.size] for name, a in arrays.items()]}
    header = json.dumps(said, allow_nan=False, separators=(",", ":")).encode()
    parts = [np.uint32(len(header)).tobytes(), header]
    for a in arrays.values():
        small = a.astype(a.dtype.newbyteorder("<"), copy=False).ravel()
        parts.append(np.ascontiguousarray(small.view(np.uint8).reshape(-1, a.dtype.itemsize).T).tobytes())
    return zipped(b"".join(parts))


def zipped(content: bytes) -> str:
    """Bytes as text, a third of it more than gzip makes of them; the same text for the same bytes."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def rounded(values: np.ndarray) -> np.ndarray:
    """float64 values to 6 digits; NaN and infinities as they are."""
    bits = np.array(values, dtype=np.float64).view(np.uint64)
    drop = np.uint64(52 - KEPT_BITS)
    half = np.uint64(1) << (drop - np.uint64(1))
    return ((bits + half) >> drop << drop).view(np.float64)


def counted(values: np.ndarray) -> np.ndarray:
    """Whole numbers >= 0 in the smallest unsigned type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
