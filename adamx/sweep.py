"""python -m adamx.sweep: the command line, from what was typed to runs in MLflow and a summary on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from adamx.children import select
from adamx.launch import Launch, build, swept
from adamx.problem import problem, whole
from adamx.registry import InputError, unknown

PACKAGE = Path(__file__).parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # installed, or a checkout
PLUGINS = str(PACKAGE / "_hydra")  # Hydra finds plugins on sys.path only


def main(config_name: str = "sweep") -> int:
    """Run what the command line asks for; the exit code: 0, 2 for input that cannot be used, 130 for Ctrl-C."""
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that `explain` can say it
    if not any(argument.startswith(("-", "hydra.mode=")) for argument in sys.argv[1:]):
        sys.argv.append("--multirun")  # else an error in the configuration is reported as a wrong mode
    try:
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
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", "default_grid")])
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
        return f"{error.override}: {words}"
    return words


def _raised_by_hydra(error: Exception) -> bool:
    """A ValueError of Hydra's own, such as for optimizer=3."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    home = str(Path(hydra.__file__).parent)
    return isinstance(error, ValueError) and trace is not None and trace.tb_frame.f_code.co_filename.startswith(home)


def run(launches: Sequence[Launch], overrides: Sequence[str]) -> None:
    """Check everything, compute all launches, record them in MLflow and print what came out.

    Args:
        overrides: as typed, for the record.
    Raises:
        InputError: before anything is computed or recorded.
        KeyboardInterrupt: after what was finished has been recorded and the parent run marked KILLED.
    """
    from rich.console import Console

    console, config = Console(), launches[0].config
    problems = [problem(launch.problem, launch.problem_args) for launch in launches]
    for launch, its_problem in zip(launches, problems, strict=True):
        launch.check(its_problem)
    _set_threads(config["backend"])
    whole("record.limit", config["record"]["limit"], 1)
    select([], config["record"]["children"])  # an unknown mode is said now
    if config["dry_run"]:
        from adamx.estimate import estimate

        console.print(estimate(launches, problems, config["record"]), highlight=False, soft_wrap=True)
        return
    from adamx import record  # with mlflow: seconds
    from adamx.analysis.figures import figures
    from adamx.progress import compute

    store = record.open()
    sweep = record.start(store, _name(launches), _merged([launch.config for launch in launches]), overrides)
    try:
        start = perf_counter()
        results = compute(launches, problems, console)
        done, seconds, total = sum(map(len, results)), perf_counter() - start, sum(map(len, launches))
        sentence = "nothing was finished"
        if results:
            sentence = sweep.write(results, swept(launches), config["record"]["children"], config["record"]["limit"])
        sweep.finish(
            "FINISHED" if done == total else "KILLED",
            figures(results) if config["record"]["figures"] else (),
            {"seconds": seconds, "runs_per_second": done / seconds},
        )
    except BaseException as error:
        sweep.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    if results:
        from adamx.analysis.summary import summary

        console.print(summary(results), soft_wrap=True)
    console.print(f"{sentence}; to look at them: [bold]{store.view}[/bold]", highlight=False, soft_wrap=True)
    if done < total:
        console.print(f"interrupted: {done:,} of {total:,} runs were finished")
        raise KeyboardInterrupt


def _set_threads(backend: dict[str, Any]) -> None:
    threads = backend["threads"]
    if threads is None:
        return
    import numba

    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if whole("backend.threads", threads, 1) > most:
        raise InputError(f"backend.threads is {threads}: there are {most}")
    numba.set_num_threads(threads)


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
