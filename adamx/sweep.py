"""python -m adamx.sweep: the command line, from what was typed to runs in MLflow and a summary on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from traceback import walk_tb
from typing import Any

import hydra
import numpy as np
from hydra._internal import config_loader_impl
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from adamx import backends, identity, journal
from adamx.children import select
from adamx.journal import Journal, part
from adamx.launch import Launch, build, swept
from adamx.problem import Problem, whole
from adamx.registry import InputError, unknown

PACKAGE = Path(__file__).parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # installed, or a checkout
AGAIN = "python -m adamx.sweep resume=last"
PLUGINS = str(PACKAGE / "_hydra")  # Hydra finds plugins on sys.path only


def main(config_name: str = "sweep") -> int:
    """Run what the command line asks for; the exit code: 0, 2 for input that cannot be used, 130 for Ctrl-C."""
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that `explain` can say it
    if not any(argument.startswith(("-", "hydra.mode=")) for argument in sys.argv[1:]):
        sys.argv.append("--multirun")  # else an error in the configuration is reported as a wrong mode
    try:
        if any(argument.startswith("--e") for argument in sys.argv[1:]):
            raise InputError("--experimental-rerun unpickles a file, which is code that runs: type the overrides")
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(_single)()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # a reader such as `head` has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"adamx: {message}", file=sys.stderr)
        return 2
    return 0


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration in plain containers, without what only composing needs."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", "default_grid", "resume")])
    return dict(OmegaConf.to_container(kept, resolve=True))  # type: ignore[arg-type]


def _single(config: DictConfig) -> None:
    """What Hydra calls with hydra.mode=RUN: one launch, without the sweeper."""
    if "record" not in config:
        raise InputError("hydra.mode=RUN is for sweeps of one point; a race has several racers")
    run([build(plain(config), {})], list(HydraConfig.get().overrides.task))


def explain(error: Exception) -> str | None:
    """What is wrong with the input, in one line; None for an error of any other kind."""
    if isinstance(error, InputError):
        return str(error)
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.partition("/")
        return str(unknown(group, option, error.options))
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and cause.parent_node is not None:
        prefix = str(cause.full_key).removesuffix(str(cause.key))
        return str(unknown("key", cause.full_key, [f"{prefix}{k}" for k in cause.parent_node if k != "hydra"]))
    from_hydra = isinstance(error, (HydraException, OmegaConfBaseException)) or _raised_by_hydra(error)
    if isinstance(error, InstantiationException) or not from_hydra:
        return None
    lines = [line.strip() for line in f"{error}\n{cause or ''}".splitlines() if line.strip(" ^")]
    words = ": ".join([line for line in lines if not line.startswith("See https")][:2])
    if isinstance(error, OverrideParseException) and error.override not in words:
        words = f"{error.override}: {words}"
    return str(InputError(words))


def _raised_by_hydra(error: Exception) -> bool:
    """Any error while Hydra reads and merges files, such as a wrong YAML; else a ValueError of Hydra's own."""
    files = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    own = isinstance(error, ValueError) and Path(hydra.__file__).parent in Path(files[-1]).parents
    return own or config_loader_impl.__file__ in files


def run(launches: Sequence[Launch], overrides: Sequence[str], resumed: Journal | None = None) -> None:
    """Check everything, compute all launches, record them in MLflow and print what came out.

    Args:
        overrides: as typed, for the record. resumed: of the sweep that they began, if it was interrupted.
    Raises:
        InputError: before anything is computed or recorded; or the store was lost: what is finished is in the journal.
        KeyboardInterrupt: after what was finished has been recorded and the parent run marked KILLED.
    """
    from rich.console import Console

    console, config = Console(), launches[0].config
    say = partial(console.print, highlight=False, soft_wrap=not console.is_terminal)
    problems = [launch.made() for launch in launches]
    for launch, its_problem in zip(launches, problems, strict=True):
        launch.check(its_problem)
    if sentence := backends.configure(config["backend"]):
        say(sentence, markup=False)
    whole("record.limit", config["record"]["limit"], 1)
    select([], config["record"]["children"])  # an unknown mode is said now
    if config["skip"] not in (None, "recorded"):
        raise unknown("skip", config["skip"], ["recorded"])
    from adamx.estimate import check_memory, estimate

    if config["dry_run"]:
        console.print(estimate(launches, problems, config["record"]), highlight=False, soft_wrap=True)
        return
    check_memory(launches, problems)
    from adamx import record  # with mlflow: seconds
    from adamx.analysis.figures import figures
    from adamx.progress import compute
    from adamx.writer import environment

    store = record.open()
    record.bury(store)
    rows = resumed.rows if resumed else _rows(launches, problems, config["skip"], store)
    parts = [part(each, own) for each, own in zip(launches, rows, strict=True)]
    planned, total = sum(map(len, launches)), sum(map(len, parts))
    if total < planned:
        say(f"{planned - total:,} of {planned:,} runs are recorded already, and skipped")
    if not total:
        return
    problems = [each for each, own in zip(problems, parts, strict=True) if len(own)]
    launches = [own for own in parts if len(own)]
    if resumed:
        resumed.take(launches)
        sweep, kept = record.resume(store, resumed.run_id), resumed
    else:
        sweep = record.start(store, _name(launches), _merged([launch.config for launch in launches]), overrides)
        kept = journal.begin(store.uri, sweep.run_id, launches, overrides, rows)
    finished = False
    try:
        start = perf_counter()
        results = compute(launches, problems, console, kept)
        done, seconds = sum(map(len, results)), perf_counter() - start
        sentence = "nothing was finished"
        if results:
            sentence = sweep.write(results, swept(launches), config["record"]["children"], config["record"]["limit"])
        sweep.finish(
            "FINISHED" if done == total else "KILLED",
            figures(results) if config["record"]["figures"] else (),
            {"seconds": seconds, "runs_per_second": done / seconds},
        )
        finished = done == total
    except BaseException as error:
        with suppress(Exception), environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):  # the store may be what failed
            sweep.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, InputError):
            finished = kept.empty  # as where a user's file cannot be compiled
            if not finished:
                raise InputError(f"{error}; what was finished is kept, and {AGAIN} goes on with it") from error
        raise
    finally:
        kept.release(done=finished)
    if results:
        from adamx.analysis.summary import summary

        console.print(summary(results), soft_wrap=not console.is_terminal)
    say(f"{sentence}; to look at them: [bold]{store.view}[/bold]")
    if done < total:
        say(f"interrupted: {done:,} of {total:,} runs were finished; {AGAIN} computes the rest")
        raise KeyboardInterrupt


def _rows(launches: Sequence[Launch], problems: Sequence[Problem], skip: object, store: Any) -> list[np.ndarray]:
    """The runs of each launch that are to be computed: all, or those that are not recorded."""
    from adamx import record

    known = record.points(store) if skip else set()
    marks = (
        identity.of_launch(*each) if known else [""] * len(each[0]) for each in zip(launches, problems, strict=True)
    )
    return [np.flatnonzero([mark not in known for mark in own]) for own in marks]


def _name(launches: Sequence[Launch]) -> str:
    """A name for the parent run, such as "adam, amsgrad on beale"."""
    optimizers, problems = ([getattr(x, kind) for x in launches] for kind in ("optimizer", "problem"))
    return f"{', '.join(dict.fromkeys(optimizers))} on {', '.join(dict.fromkeys(problems))}"


def _merged(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One configuration of all launches: where they differ, the list of distinct values."""
    merged = {}
    for key in configs[0]:
        distinct: list[Any] = []
        for config in configs:
            if config[key] not in distinct:
                distinct.append(config[key])
        merged[key] = distinct[0] if len(distinct) == 1 else distinct
    return merged


if __name__ == "__main__":
    sys.exit(main())
