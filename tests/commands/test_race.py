"""The race: what a command line expands to, what is computed, and what the pictures show."""

import shutil
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from adamx.analysis import surface
from adamx.analysis.curves import GapAxis
from adamx.analysis.surface import Surface
from adamx.engine import simulate as engine
from adamx.inputs.errors import InputError
from adamx.problems import problem
from adamx.race import __main__ as race
from adamx.race import film, run
from adamx.race.pictures import MOST, Race, Racer, Trails, filmstrip, images
from adamx.sweep import command

PRESETS = sorted(path.stem for path in (command.CONF / "race").glob("*.yaml"))
RULE = """
from typing import NamedTuple
from adamx.optimizers import no_time as per_step
from adamx.portable import portable

class Hyper(NamedTuple):
    lr: float = 0.5

@portable
def update(x, g, state, h, now):
    return x - h.lr * g, state
"""


@pytest.fixture
def type_(monkeypatch, tmp_path, capsys):
    """Types a command line in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def type_(*arguments):
        monkeypatch.setattr(sys, "argv", ["adamx-race", *arguments])
        return race.main(), *capsys.readouterr()

    return type_


@pytest.fixture
def expand(type_, monkeypatch):
    """The launches that a command line expands to."""

    def expand(*arguments):
        seen = []
        monkeypatch.setattr(run, "run", seen.extend)
        code, _, said = type_(*arguments)
        assert code == 0, said
        return seen

    return expand


def rates(launches):
    return {launch.optimizer: launch.hyper["lr"].tolist() for launch in launches}


def test_bare_command_is_the_long_valley(expand):
    launches = expand()
    assert {launch.problem.name for launch in launches} == {"long_valley"}
    assert rates(launches) == {"sgd": [0.03], "momentum": [0.01], "rmsprop": [0.1], "adam": [0.2]}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_races(expand, name):
    launches = expand(f"race={name}")
    assert 4 <= sum(map(len, launches)) <= MOST
    assert len({(launch.problem.digest, launch.steps, launch.config["out"]) for launch in launches}) == 1
    assert launches[0].config["out"] == f"race_{name}"
    surface.check(launches[0].problem)


def test_what_is_typed_comes_after_the_preset(expand):
    launches = expand("race=beale", "adam.lr=0.5", "steps=7", "optimizer=adam,sgd")
    assert rates(launches) == {"adam": [0.5], "sgd": [0.02]}
    assert {launch.steps for launch in launches} == {7}
    assert set(map(tuple, rates(expand("optimizer.lr=0.7")).values())) == {(0.7,)}


def test_a_problem_of_ones_own_has_no_preset(expand):
    launches = expand("problem=beale", "optimizer=adam,rmsprop", "optimizer.lr=0.1,0.2", "rmsprop.beta2=0.9")
    assert rates(launches) == {"adam": [0.1, 0.2], "rmsprop": [0.1, 0.2]}
    assert launches[0].problem_args["x0"] == [1, 1]
    assert launches[1].hyper["beta2"].tolist() == [0.9, 0.9]


def test_a_setting_of_one_optimizer_may_be_an_axis(expand):
    launches = expand("problem=beale", "adam.lr=log:1e-2:1:3", "sgd.lr=0.1,0.2", "optimizer=sgd,adam,momentum")
    assert rates(launches) == {"sgd": [0.1, 0.2], "adam": [0.01, 0.1, 1], "momentum": [0.01]}


def test_files_are_racers(expand, tmp_path):
    (tmp_path / "mine.py").write_text(RULE)
    launches = expand("problem=beale", "optimizer=sgd,./mine.py", "mine.lr=0.25")
    assert rates(launches) == {"sgd": [0.01], "mine": [0.25]}


MISTAKES = {
    "race=ep": "did you mean 'eps'",
    "race=eps,beta": "one race at a time",
    "optimizer=adm": "did you mean 'adam'",
    "adm.lr=0.1": "did you mean 'adam'",
    "lion.lr=0.1": "lion is not among the optimizers, sgd, momentum, rmsprop, adam",
    "sgd.beta1=0.9": "unknown hyperparameter of sgd 'beta1'",
    "sgd=0.1": "such as sgd.lr=0.1",
    "problem=bale": "did you mean 'beale'",
    "problem=beale,saddle": "a race has one problem",
    "steps=5,6": "one number of steps",
    "problem=power": "needs a landscape of 2 coordinates: power has 1",
    "problem=digits_softmax": "digits_softmax has 650 parameters",
    "problem=moons_logistic schedule=cosine": "lr must be constant",
    "optimizer.lr=log:1e-3:1:2": f"a race of 8: at most {MOST}",
    "files=[jpg]": "unknown file 'jpg'",
    "frames=1": "frames is 1",
    "fps=0": "fps is 0",
    "view=[1,0,0,1]": "[left,right,bottom,top] is needed",
    "view=3": "[left,right,bottom,top] is needed",
}


@pytest.mark.parametrize(("typed", "said"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2_and_leaves_nothing(type_, tmp_path, typed, said):
    if "=log:" in typed:
        typed += " problem=beale"
    code, out, error = type_(*typed.split())
    assert (code, out) == (2, "")
    assert said in error
    assert error.startswith("adamx: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_rmsprop_pops_where_eps_is_too_small(expand):
    """Claim 2: a 2-cycle |x| = lr/2 - eps/curvature stays along every coordinate with eps < lr curvature / 2."""
    made = run.compute(expand("race=eps", "steps=1000"))
    eps, curvature = np.array([1e-8, 0.05, 0.1, 0.15, 0.25]), np.array([1, 2])
    expected = np.maximum(0.1 - eps[:, None] / curvature, 0)
    amplitude = np.array([np.abs(racer.path[-2:]).max(axis=0) for racer in made.racers])
    # eps = 0.1 is the threshold of x itself: it decays like a power of t, and so does what y does after it
    np.testing.assert_allclose(np.delete(amplitude, 2, 0), np.delete(expected, 2, 0), atol=1e-6)
    assert [racer.popped for racer in made.racers] == [True, True, True, True, False]
    assert made.ordered
    assert [racer.label for racer in made.racers][1] == r"$\varepsilon$ = 0.05"


@pytest.mark.parametrize("typed", [["problem=saddle", "problem.x0=[1,1e-3]"], ["race=moons"]], ids=["saddle", "moons"])
def test_the_path_lies_on_the_surface(expand, typed):
    (launch,) = expand(*typed, "optimizer=momentum", "steps=20")
    its_problem = launch.problem
    results, paths = run._simulate(launch)
    assert paths.shape == (1, 21, its_problem.dim)
    seeds = {"seed": np.zeros(21)}
    heights = engine.simulate("momentum", its_problem, seeds, steps=1, x0=paths[0], instruments=launch.instruments)
    np.testing.assert_allclose(heights.loss[0], results.loss[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(paths[:, -1], results.x)


def test_sgd_sits_at_the_saddle(expand):
    """As conf/race/saddle.yaml says."""
    made = run.compute(expand("race=saddle", "optimizer=sgd,momentum"))
    assert [racer.goal for racer in made.racers] == [349, 72]
    assert not len(made.surface.minimizers)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(run.table(made))
    rows = capture.get().splitlines()
    assert [row.split()[0] for row in rows] == ["optimizer", "momentum", "sgd"]
    assert "72" in rows[1]


def bowl(racers=2, steps=12, lowest=0.0):
    """A race on x^2 + y^2 (+ lowest) that no kernel computed: racer k walks straight to k / 10 at its last step."""
    x = np.linspace(-1, 1, 41)
    height = x**2 + x[:, None] ** 2 + lowest
    paths = [np.linspace([0.9, 0.9], [k / 10, k / 10], steps + 1) for k in range(racers)]
    losses = [(path**2).sum(axis=1) + lowest for path in paths]
    made = [
        Racer(f"racer {k}", f"adam {k}", "lr=0.1", path, loss, -1 if k else steps, False, "slow")
        for k, (path, loss) in enumerate(zip(paths, losses, strict=True))
    ]
    below = Surface(x, x, height, 0.0, 1e-3, np.zeros((int(lowest == 0), 2)), ("x", "y"), "")
    return Race("a race", made, below, GapAxis(0.0, 2.0, True, 1e-6, 2.0))


def test_trails_grow_and_their_heads_lead():
    made = bowl()
    field = filmstrip(made).axes[0]
    points = [racer.path for racer in made.racers]
    trails = Trails(field, made, points)
    trails.show(5)
    for line, head, path in zip(trails.lines, trails.heads, points, strict=True):
        np.testing.assert_array_equal(np.column_stack(line.get_data()), path[:6])
        np.testing.assert_array_equal(np.column_stack(head.get_data()), path[5:6])


def test_status_is_said_when_it_is_known():
    first, second = bowl().racers
    assert [first.status(step) for step in (11, 12)] == [" ", "goal at 12"]
    assert second.status(12) == "short of the goal"
    assert replace(first, popped=True).status(12) == "goal at 12, popped"


def test_the_strip_has_six_steps_each_twice_the_one_before():
    figure = filmstrip(bowl(steps=64))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"step {2**k}" for k in range(1, 7)]
    figure.canvas.draw()
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["racer 0\ngoal at 64", "racer 1\nshort of the goal"]


def test_every_racer_has_a_color_and_a_marker_of_its_own():
    for ordered in (False, True):
        made = replace(bowl(MOST), ordered=ordered)
        assert len({str(color) for color in made.colors}) == MOST
        trails = Trails(filmstrip(made).axes[0], made, [racer.path for racer in made.racers])
        assert len({head.get_marker() for head in trails.heads}) == MOST


def test_a_star_where_the_minimum_is_known_and_a_border_where_the_goal_is_not_a_minimum():
    def drawn(made):
        axes = filmstrip(made).axes[0]
        return [line.get_marker() for line in axes.lines if line.get_marker() == "*" and len(line.get_xdata())]

    assert drawn(bowl()) == ["*"]
    assert drawn(bowl(lowest=-1.0)) == []
    borders = [len(filmstrip(bowl(lowest=low)).axes[0].collections) for low in (0.0, -1.0)]
    assert borders[1] == borders[0] + 1


def test_the_film(tmp_path):
    made = bowl(steps=40)
    frames = list(images(made, 9, 640))
    assert {frame.shape for frame in frames} == {(390, 640, 3)}
    assert all((a != b).any() for a, b in pairwise(frames))
    film.gif(frames, tmp_path / "film.gif", 20)
    with Image.open(tmp_path / "film.gif") as gif:
        assert (gif.n_frames, gif.size) == (9, (640, 390))
        gif.seek(8)
        off = np.abs(np.asarray(gif.convert("RGB")).astype(int) - frames[8])
        assert off.max(axis=-1).mean() < 1, "one palette is enough"
    film.gif(frames[:1], tmp_path / "one.gif", 20)
    one, all_ = ((tmp_path / name).stat().st_size for name in ("one.gif", "film.gif"))
    assert all_ < 3 * one, "what stands still is stored once"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_mp4(tmp_path):
    assert list(run.write(bowl(), tmp_path / "new" / "film", ["mp4"], 3, 20)) == [f"{tmp_path}/new/film.mp4"]
    assert (tmp_path / "new" / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_without_ffmpeg_a_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    lines = list(run.write(bowl(), tmp_path / "film", ["png", "gif", "mp4"], 3, 20))
    assert lines[2] == f"{tmp_path}/film.mp4 was left out: it needs ffmpeg, which is not installed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.gif", "film.png"]


def test_a_surface_needs_two_coordinates():
    surface.check(problem("moons_logistic"))
    with pytest.raises(InputError, match="2 features"):
        surface.check(problem("moons_logistic", {"hidden": [4]}))
