"""Run: a race of optimizers, from launches to the table and the pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adamx.engine.launch import Launch, swept
from adamx.engine.results import Results
from adamx.engine.simulate import simulate
from adamx.inputs.errors import InputError, unknown, whole
from adamx.problems import Landscape, Problem
from adamx.schedules import Schedule
from adamx.sweep import waiting

if TYPE_CHECKING:
    from rich.table import Table

    from adamx.analysis.surface import View
    from adamx.race.pictures import Race


FILES = ("png", "gif", "mp4")
CHOICES = ("optimizer", "schedule", "dtype")


def run(launches: Sequence[Launch]) -> None:
    """Race all runs of the launches: print the table and write the pictures that the configuration names.

    Raises:
        InputError: before anything is computed.
    """
    from rich.console import Console

    config, console = launches[0].config, Console()
    files = [config["files"]] if isinstance(config["files"], str) else list(config["files"])
    for name in files:
        if name not in FILES:
            raise unknown("file", name, FILES)
    frames, fps = whole("frames", config["frames"], 2), whole("fps", config["fps"], 1)
    waiting.say("racing")
    race = compute(launches, _view(config["view"]))
    waiting.clear()
    console.print(race.title, style="bold", soft_wrap=True)
    console.print(table(race))
    for line in write(race, Path(config["out"]).expanduser(), files, frames, fps):
        console.print(line, highlight=False, soft_wrap=True)


def compute(launches: Sequence[Launch], view: View | None = None) -> Race:
    """The race of all runs of the launches.

    Args:
        view: left, right, bottom, top of what is shown; by default where the racers are.
    Raises:
        InputError: too many racers, more than one problem, or a problem that cannot be drawn.
    """
    from adamx.analysis.curves import gap_axis
    from adamx.analysis.surface import check, surface
    from adamx.race.pictures import MOST, Race, Racer

    if len({(each.problem.digest, repr(each.problem_args), each.steps) for each in launches}) > 1:
        raise InputError("a race has one problem and one number of steps; its racers differ in anything else")
    count = sum(map(len, launches))
    if count > MOST:
        raise InputError(f"a race of {count:,}: at most {MOST} can be told apart")
    its_problem = launches[0].problem
    check(its_problem)
    racers, points = [], []
    names = _distinguishing(launches)
    for launch in launches:
        results, paths = _simulate(launch)
        for run, row in enumerate(results.table.to_dict("records")):
            racers.append(
                Racer(
                    label=_label(results, run, names),
                    rule=_choice(results, names),
                    constants=_constants(launch, run, names),
                    path=paths[run, :, :2],
                    loss=results.loss[:, run],
                    goal=_first(results.loss[:, run] - its_problem.minimum <= its_problem.criteria.target),
                    popped=bool(row["popped"]),
                    regime=row["regime"],
                )
            )
        points.append(paths)
    loss = np.array([racer.loss for racer in racers])
    below = surface(its_problem, launches[0].rule, np.concatenate(points), loss, view)
    goal = below.base + below.target
    drawn = np.append(np.maximum(loss, goal - abs(loss[0, 0] - goal)), goal)  # cut off far beyond the goal
    return Race(
        title=", ".join(filter(None, [_title(launches, its_problem), below.section])),
        racers=racers,
        surface=below,
        axis=gap_axis(replace(results, minimum=below.base), drawn),
        ordered=len(names) == 1 and names[0] in results.columns and names[0] != "seed",
    )


def _title(launches: Sequence[Launch], its_problem: Problem) -> str:
    """The optimizers and the problem with what was changed of it; its start and its goal are in the picture."""
    settings = (f"{k}={v}".replace(" ", "") for k, v in its_problem.setup.items() if k not in ("x0", "target"))
    optimizers = ", ".join(dict.fromkeys(each.optimizer for each in launches))
    return " ".join([optimizers, "on", its_problem.name, *settings])


def _simulate(launch: Launch) -> tuple[Results, np.ndarray]:
    """The Results of a launch, and the runs' points (runs, steps + 1, coordinates)."""
    its_problem = launch.problem
    if isinstance(its_problem, Landscape):
        results = simulate(**replace(launch, instruments=("path",)).arguments)
        return results, np.stack([results.curves[f"x{i}"].T for i in range(its_problem.dim)], axis=-1)
    # Only the end of a task's path is known; at constant lr a run of t steps is the beginning of a longer one.
    if launch.schedule != "constant":
        raise InputError(f"schedule={launch.schedule}: on {its_problem.name}, which is a task, lr must be constant")
    lengths = range(1, launch.steps + 1)
    ends = [simulate(**replace(launch, steps=t).arguments) for t in lengths]
    start = np.zeros_like(ends[0].x)
    return ends[-1], np.stack([start, *(each.x for each in ends)], axis=1)


def _first(marks: np.ndarray) -> int:
    """The index of the first true mark, or -1. (A task's figure `reached_step` is of a smoothed minibatch loss.)"""
    return int(marks.argmax()) if marks.any() else -1


def _distinguishing(launches: Sequence[Launch]) -> list[str]:
    """Names that distinguish racers: choices, lr if optimizers differ, and what is swept within one optimizer."""
    optimizers = dict.fromkeys(each.optimizer for each in launches)
    names = [name for name in swept(launches) if name in CHOICES]
    names += ["lr"] * (len(optimizers) > 1)
    for optimizer in optimizers:
        names += swept([each for each in launches if each.optimizer == optimizer])
    return list(dict.fromkeys(names))


def _label(results: Results, run: int, names: Sequence[str]) -> str:
    """A label that distinguishes a racer, such as "adam η = 0.1"."""
    from adamx.analysis.scales import SYMBOLS, short

    values = [f"{SYMBOLS.get(n, n)} = {short(results.columns[n][run])}" for n in names if n in results.columns]
    choices = [_choice(results, names)] if not values or set(names) & set(CHOICES) else []
    return "  ".join([*choices, *values])


def _choice(results: Results, names: Sequence[str]) -> str:
    """The optimizer, with the schedule and the dtype where they differ between racers."""
    words = [Path(results.optimizer).stem, *(getattr(results, name) for name in CHOICES[1:] if name in names)]
    return " ".join(words)


def _constants(launch: Launch, run: int, names: Sequence[str]) -> str:
    """lr, the names that distinguish racers, and all else that is not the optimizer's default, as typed."""
    defaults = {**Schedule._field_defaults, **launch.rule.defaults}
    values = {name: column[run] for name, column in launch.hyper.items()}
    return " ".join(f"{n}={v:.6g}" for n, v in values.items() if n in ("lr", *names) or v != defaults[n])


def _view(typed: object) -> View | None:
    """The view of the configuration: null or four numbers."""
    if typed is None:
        return None
    try:
        left, right, bottom, top = map(float, typed)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        left = right = bottom = top = np.nan
    if not (left < right and bottom < top):
        raise InputError(f"view is {typed!r}: [left,right,bottom,top] is needed")
    return left, right, bottom, top


def table(race: Race) -> Table:
    """The finish: a row a racer, those that reached the goal first on top."""
    from rich.table import Table

    from adamx.analysis.scales import short

    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("optimizer", no_wrap=True)
    view.add_column("constants", overflow="fold")
    for header in ("goal at step", "final loss"):
        view.add_column(header, justify="right", no_wrap=True)
    view.add_column("regime", overflow="ellipsis")  # in a narrow window this gives way
    for racer in sorted(race.racers, key=lambda r: (r.goal < 0, r.goal, r.loss[-1])):
        goal = str(racer.goal) if racer.goal >= 0 else "-"
        view.add_row(racer.rule, racer.constants, goal, short(racer.loss[-1]), racer.regime + ", popped" * racer.popped)
    return view


def write(race: Race, stem: Path, files: Sequence[str], frames: int, fps: int) -> Iterator[str]:
    """Write the pictures, and yield a line for each: its path, or why it was left out.

    Args:
        stem: path without its suffix. files: of `FILES`.
    """
    from adamx.race import film
    from adamx.race.pictures import filmstrip, images

    stem.parent.mkdir(parents=True, exist_ok=True)
    if "png" in files:
        filmstrip(race).savefig(f"{stem}.png")
        yield f"{stem}.png"
    if "gif" in files:
        film.gif(list(images(race, frames, 640)), Path(f"{stem}.gif"), fps)
        yield f"{stem}.gif"
    if "mp4" in files and shutil.which("ffmpeg") is None:
        yield f"{stem}.mp4 was left out: it needs ffmpeg, which is not installed"
    elif "mp4" in files:
        film.mp4(list(images(race, frames, 1280)), Path(f"{stem}.mp4"), fps)
        yield f"{stem}.mp4"
