"""A film: images, one after another, as GIF and as MP4."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

HOLD = 2.5  # seconds for which the last frame stands


def gif(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """Write frames (height, width, 3) uint8 as an animated GIF that repeats for ever.

    All frames share one palette, the most frequent colors: what stands still in a frame then need not be stored again,
    and is the 256th color, transparent.
    """
    packed = [frame.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32) for frame in frames]
    seen, counts = np.unique([packed[len(packed) // 2], packed[-1]], return_counts=True)
    palette = _unpacked(seen[np.argsort(counts)[-255:]])
    nearest = cKDTree(palette)
    flat = []
    for colors, index in (np.unique(image, return_inverse=True) for image in packed):
        image = Image.fromarray(nearest.query(_unpacked(colors))[1].astype(np.uint8)[index].reshape(packed[0].shape))
        image.putpalette(palette.tobytes())
        flat.append(image)
    times = [round(1000 / fps)] * (len(flat) - 1) + [round(1000 * HOLD)]
    flat[0].save(path, save_all=True, append_images=flat[1:], duration=times, loop=0, optimize=True)


def _unpacked(colors: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 red, green, blue of colors packed into whole numbers."""
    return np.stack([colors >> 16, colors >> 8, colors], axis=-1).astype(np.uint8)


def mp4(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """Write frames (height, width, 3) uint8 with even sides as an H.264 film, by ffmpeg.

    Raises:
        FileNotFoundError: there is no ffmpeg.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise FileNotFoundError("ffmpeg")
    height, width, _ = frames[0].shape
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -"
    coding = "-c:v libx264 -crf 20 -pix_fmt yuv420p -movflags +faststart"
    command = [ffmpeg, "-loglevel", "error", "-y", *source.split(), *coding.split(), str(path)]
    held = [frames[-1]] * round(fps * HOLD)
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in [*frames, *held]), check=True)
