"""Hostile and wrong input: whatever is typed, composed or read from a file ends in a result or in one line, within
seconds, and writes, runs, unpickles and connects to nothing."""

import contextlib
import html
import io
import itertools
import os
import pickle
import re
import signal
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf.basecontainer import BaseContainer
from synthetic import product, synthetic

import adamx
from adamx import optimizers
from adamx.engine.launch import build
from adamx.inputs import axes
from adamx.inputs.datasets import read
from adamx.inputs.errors import InputError
from adamx.optimizers import check
from adamx.problems import problem
from adamx.sweep import command
from adamx.sweep import run as running

ROOT = Path(adamx.__file__).parents[1]
SECONDS = 10  # that one input may take
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.bind")
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")

watched = []  # the folder that may be written in, while somebody watches
seen = []


def audit(event, arguments):
    if not watched:
        return
    if event in FORBIDDEN or event == "pickle.find_class":
        seen.append((event, arguments))
    elif event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], (str, bytes)) else ""
        if not path.startswith((watched[0], os.devnull)):
            seen.append((event, arguments))


sys.addaudithook(audit)  # for the rest of the process: it looks only while `watched`


def stop(*_):
    raise TimeoutError(f"more than {SECONDS} s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The only folder that may be written in."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hostile")
        patch.chdir(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("ADAMX_CACHE_DIR", str(folder / "ran"))
        yield folder


@contextlib.contextmanager
def harmless(folder):
    """One input: an InputError is fine and its text is in the list; any other error, delay or deed is not."""
    refused = []
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    watched.append(str(folder))
    try:
        yield refused
    except InputError as error:
        refused.append(str(error))
    finally:
        watched.clear()
        signal.alarm(0)
        done, seen[:] = seen[:], []
    assert not done, done
    assert all(text.strip() and text.isprintable() for text in refused), refused


@contextlib.contextmanager
def refused(folder, words=""):
    """One input that must be refused."""
    with harmless(folder) as said:
        yield
    assert said and words in said[0], said


def fuzz(examples):
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))


# --- the guards themselves -------------------------------------------------------------------------------------------


def test_the_watch_sees_what_it_should(folder, tmp_path):
    for deed in (
        lambda: (tmp_path / "file").write_text(""),
        lambda: (tmp_path / "folder").mkdir(),
        lambda: os.system("true"),
        lambda: pickle.loads(pickle.dumps(np.float64(1))),
    ):
        with pytest.raises(AssertionError), harmless(folder):
            deed()
    with harmless(folder):
        (folder / "mine").write_text("")
        (folder / "mine").unlink()
    with pytest.raises(AssertionError), refused(folder):
        pass
    assert str(InputError("two\nlines \x1b[31m\r\ud800 é 🙂")) == "two\\nlines \\x1b[31m\\r\\ud800 é 🙂"


# --- axes ------------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(
        ["", "0", "-0", "1e-400", "1e400", "inf", "nan", "1e308", "-1e308", "5e-324", "0x10", "1_0", "١", "9" * 400,
         "1e", "None", "1j", " 1 ", "1,2", "2**9", "9" * 5000]
    ),
)  # fmt: skip
POINTS = st.integers(-3, 2000).map(str) | NUMBERS.filter(lambda n: not n.isdigit() or len(n) > 8 or int(n) < 5000)
AXES = st.one_of(
    st.builds("{}:{}:{}:{}".format, st.sampled_from([*axes.SCALES, "ln", "", "LOG", "log "]), NUMBERS, NUMBERS, POINTS),
    st.builds("{}:{}:{}".format, st.sampled_from(axes.SCALES), NUMBERS, NUMBERS),
    st.lists(st.sampled_from([*axes.SCALES, ":", "1", "-", "0", "e", "\n", "\0", "é", "🙂"])).map("".join),
    st.text(),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), AXES, NUMBERS,
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, float("inf"), "adam", "beale", "digits_mlp", "float32"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=5), v, max_size=3), max_leaves=6
)


@given(text=AXES)
@fuzz(3000)
def test_axis_texts(folder, text):
    with harmless(folder):
        points = axes.axis(text)
        assert points is None or (points.size > 0 and np.isfinite(points).all())
    with harmless(folder):
        between = axes.interval(text)
        if between:
            drawn = axes.sample({"a": between}, 3)["a"]
            assert np.isfinite(drawn).all()


@given(typed=VALUES)
@fuzz(2000)
def test_axis_values(folder, typed):
    with harmless(folder):
        points = axes.values("eps", typed)
        assert points.ndim == 1 and points.size


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def composed(folder):
    """The launches of a command line, as Hydra composes them."""
    launches = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run", lambda built, *_: launches.extend(built))
        patch.setattr(sys, "argv", ["adamx-sweep", "problem=beale"])
        assert command.main() == 0
    return launches[0].config


KEYS = (
    *("steps", "record_every", "seed", "dtype", "schedule", "samples", "sampler", "storage", "instruments", "backend"),
    *("optimizer.name", "optimizer.lr", "optimizer.beta1", "optimizer.eps", "optimizer.bias_correction"),
    *("problem.name", "problem.x0", "problem.noise", "problem.target", "optimizer.lr_warmup", "problem.hidden"),
    *("problem.batch", "problem.path", "problem.loss", "problem.held_out", "problem.target_column", "storage.state"),
    *("problem.separator", "problem.decimal", "problem.header", "problem.na", "problem.drop", "problem.standardize"),
)


@given(
    name=st.sampled_from(["beale", "quadratic", "digits_mlp", "dataset", "diabetes_squares", "power"]),
    changes=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3),
)
@fuzz(2000)
def test_configurations(folder, composed, name, changes):
    config = {k: dict(v) if isinstance(v, dict) else v for k, v in composed.items()}
    config["problem"] = {"name": name}
    for key, value in changes.items():
        group, _, field = key.rpartition(".")
        if not group:
            config[key] = value
        elif isinstance(config[group], dict):
            config[group][field] = value
    with harmless(folder):
        build(config, {})


WORDS = st.sampled_from(
    ["optimizer", "problem", "steps", "seed", "optimizer.lr", "optimizer.eps", "problem.noise", "problem.hidden",
     "hydra", "hydra.run.dir", "hydra.sweeper", "hydra.callbacks.a", "hydra.job_logging", "hydra.mode", "record",
     "dtype", "backend", "storage.state", "instruments", "samples", "default_grid", "_target_", "problem._target_",
     "hydra/launcher", "hydra/sweeper", "+a", "++steps", "~problem", "", "é", "optimizer@x", "hydra.searchpath"]
)  # fmt: skip
TYPED = st.one_of(
    AXES, NUMBERS, st.text(max_size=10),
    st.sampled_from(
        ["adam", "adam,sgd", "beale", "RUN", "null", "true", "[1,2]", "[", "{a:1}", "{", "range(0,3)", "range(0,1,0)",
         "interval(0,1)", "choice(1,2)", "tag(log,interval(1e-4,1))", "glob(*)", "sort(3,1)", "shuffle(1,2)", "int(1)",
         "${steps}", "${oc.env:HOME}", "${oc.env:NOT_SET}", "${optimizer}", "${", "${a.b}", "${oc.create:{a:1}}",
         "${hydra:run.dir}", "os.system", "builtins.eval", "{_target_:os.system,command:true}", "'a b'", '"x', "\\",
         "../../etc/passwd", "/etc/passwd", "./missing.py", "x.py", "~nobody/x.py", "a" * 300 + ".py", "\0.py", ".py",
         "json_str(1)", "extend_list(1)", "float(a)", "[[]]", "[{}]", "???", "-", "1e400", "range(1,2,3,4)"]
    ),
)  # fmt: skip
OVERRIDES = st.builds("{}={}".format, WORDS, TYPED)


RUN = running.run


def type_(folder, *typed, run=lambda *_: None):
    """The exit code of a command line, what was said in stderr and what was forbidden; nothing is computed."""
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, harmless(folder):
        patch.setattr(running, "run", run)
        patch.setattr(sys, "argv", ["adamx-sweep", *typed])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                code = command.main()
            except SystemExit as shown:  # Hydra ends so after what it shows
                code = shown.code
    said = error.getvalue()
    assert (code == 0 and not said) or (code == 2 and said.startswith("adamx: ") and said[:-1].isprintable()), said
    return code, said


@given(typed=st.lists(OVERRIDES | OVERRIDES | TYPED, min_size=1, max_size=3))
@fuzz(300)
def test_command_lines(folder, composed, typed):
    type_(folder, *typed)


VALID = [
    line.split()
    for line in (
        "problem=beale optimizer=adam,sgd optimizer.eps=1e-8,1e-4 steps=1e3 dtype=float64",
        "problem=quadratic problem.curvature=[1,10] optimizer.lr=log:1e-4:1:9 optimizer.eps=${.lr} seed=range(0,3)",
        "preset=wide_grid problem=rosenbrock samples=16 sampler=random",
        "optimizer=rmsprop,momentum rmsprop.eps=0,1e-8 optimizer.momentum=0.5 schedule=cosine optimizer.lr_warmup=10",
        "problem=digits_softmax problem.batch=32,64 problem.held_out=0.3 record=top record.limit=5 backend.threads=1",
        "optimizer.lr=interval(1e-4,1) optimizer.beta2=tag(1-log,interval(1e-4,1)) samples=8 problem=himmelblau",
        "--multirun problem=beale instruments=[grad_norm,path] regimes.spike_ratio=100 storage.state=bfloat16",
        "--config-dir conf problem=beale hydra.searchpath=[conf] hydra.job.chdir=false resume=null skip=null",
        "optimizer.beta1=choice(0.5,0.9) optimizer.bias_correction=true,false problem=saddle record.figures=false",
    )
]  # fmt: skip
CHARACTERS = "=,.:[](){}+-~$\\'\"/@!#*_ 019eaä\0"
EXTRA = [
    "steps=",
    "=1",
    "+",
    "--",
    "-",
    "--cfg",
    "--run",
    "optimizer=null",
    "seed=null",
    "record=null",
    "problem={a:1}",
]


@st.composite
def nearly_valid(draw):
    """A command line that is right but for a few slips: characters lost, doubled or wrong, words swapped or cut."""
    words = [*draw(st.sampled_from(VALID))]
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(words) - 1))
        word, j = words[i], draw(st.integers(0, len(words[i])))
        char = draw(st.sampled_from(CHARACTERS))
        words[i] = draw(
            st.sampled_from([word[:j] + word[j + 1 :], word[:j] + char + word[j:], word[:j] + char + word[j + 1 :],
                             word[:j], word[:j] + word[j:] * 2, f"+{word}", f"{word},{word}", word.replace("=", " ", 1),
                             word.swapcase(), draw(st.sampled_from(EXTRA)), draw(st.sampled_from(VALID))[0]])
        )  # fmt: skip
    return [word for word in words if word] or ["steps=0"]


@given(typed=nearly_valid())
@fuzz(200)
def test_a_slip_is_a_line_and_no_traceback(folder, composed, typed):
    """Run a sweep up to the estimate of dry_run=true, which is left out: it compiles kernels."""
    (folder / "conf").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adamx.sweep.estimate.estimate", lambda *_: "an estimate")
        patch.setattr("adamx.engine.cpu.threads.use", lambda _: None)
        type_(folder, *typed, "dry_run=true", run=RUN)


CALLS = "hydra: {callbacks: {a: {_target_: pathlib.Path}}}"
LOGS = "hydra: {job_logging: {version: 1, handlers: {x: {class: logging.FileHandler, filename: /tmp/pwned}}}}"
CONFIGURATIONS = {
    "name: !!python/object/apply:os.system ['touch pwned']": "could not determine a constructor",
    f"# @package _global_\nproblem: {{name: beale}}\n{CALLS}": "hydra.callbacks.a: adamx calls no code",
    f"# @package _global_\nproblem: {{name: beale}}\n{LOGS}": "adamx writes no log",
    "# @package _global_\nhydra: {job: {env_set: {A: b}}}": "hydra.job.env_set.A: adamx computes where it is started",
    "name: beale\n_target_: os.system\ncommand: touch pwned": "unknown setting of problem beale",
    "name: [": "expected the node content",
    "- 1": "Cannot merge",
    "3": "Invalid loaded object type",
    "": "problem.name is None",
    "name: &x [*x]": "recursion",
    "defaults: [mine]": "recursion",
    "name: beale\nname: power": "mapping",
    "name: ${problem.name}": "Recursive interpolation",
    "name: ${oc.env:NO_SUCH_VARIABLE}": "'NO_SUCH_VARIABLE' not found",
    "name: ${eval:1}": "Unsupported interpolation type eval",
    "name: \0": "unacceptable character",
    "\udcff": "decode",
}


@pytest.mark.parametrize(("text", "said"), CONFIGURATIONS.items(), ids=range(len(CONFIGURATIONS)))
def test_a_configuration_is_data(folder, composed, text, said):
    """Without an effect or a traceback, whatever the file of a group has in it."""
    (folder / "conf/problem").mkdir(parents=True, exist_ok=True)
    (folder / "conf/problem/mine.yaml").write_bytes(text.encode(errors="surrogateescape"))

    def check_all(launches, *_):
        for launch in launches:
            launch.problem  # it is made

    code, error = type_(folder, "--config-dir", "conf", "--multirun", "problem=mine", run=check_all)
    assert code == 2 and said in error
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    "typed",
    [
        "+hydra.callbacks.x._target_=pathlib.Path", "hydra.sweeper._target_=os.system", "hydra.sweeper=3",
        "hydra/sweeper=optuna", "hydra/job_logging=default", "hydra.mode=RUN hydra.run.dir=/tmp/pwned",
        "hydra.mode=RUN hydra.output_subdir=../pwned", "--experimental-rerun=x", "--exp=x",
        "hydra.mode=RUN +hydra.job.env_set.A=b", "--config-dir nowhere", "--config-name nothing", "--config-path /proc",
    ],
)  # fmt: skip
def test_hydras_own_settings_cannot_run_or_write_anything(folder, composed, typed):
    assert type_(folder, "problem=beale", *typed.split())[0] == 2


def test_interpolations_read_and_do_nothing_else(composed):
    """`${...}` in a configuration reads environment variables and other keys, and runs nothing."""
    known = {"oc.create", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.env", "oc.select"}
    assert known <= set(BaseContainer._resolvers) <= known | {"hydra", "now", "python_version"}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", '"onload="alert(1)', "<script>alert(1)<!--", "[red]"])
def test_a_name_is_no_markup_in_the_report_and_on_the_terminal(folder, name, capsys):
    from rich.console import Console

    from adamx.analysis.summary import summary
    from adamx.report.page import report

    (folder / f"{name}.py").write_text(PROBLEM)
    with harmless(folder):
        its_name = problem(f"./{name}.py").name
    assert its_name == name
    results = [synthetic(product(lr=[1e-3, 1e-2], eps=[1e-8, 1e-2]), problem=its_name)]
    page = report(results).decode()
    assert name not in page or name == "[red]"
    assert html.escape(name) in page
    Console(width=200).print(summary(results))
    assert name in capsys.readouterr().out


def test_a_name_commands_no_terminal(folder, capsys):
    """In the summary, in the progress, and in what a record says."""
    from rich.console import Console

    from adamx import replay
    from adamx.analysis.summary import summary
    from adamx.sweep.progress import SweepProgress

    name = "\x1b]0;owned\x07\x1b[2J[red]"
    console = Console(width=200)
    console.print(summary([synthetic(product(lr=[1e-3, 1e-2]), problem=name)]))
    SweepProgress([], console)._print(f"adam on {name}")
    results = synthetic(product(lr=[1e-3]))
    found = types.SimpleNamespace(results=[results], rows=np.arange(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay.readback, "read", lambda *_: types.SimpleNamespace(launches=lambda _: [], **vars(found)))
        patch.setattr(replay, "run", lambda *_: [results])
        patch.setattr(replay, "identical", lambda *_: np.array([False]))
        patch.setattr(replay, "differences", lambda *_: {"cpu": (name, "\x1b[31mother")})
        replay.main(["abc"])
    said = capsys.readouterr().out
    assert "[red]" in said and said.count("owned") == 3 and "\x1b" not in said and "\x07" not in said


def test_a_script_as_a_name_is_not_in_the_report():
    from adamx.report.page import report

    page = report([synthetic(product(lr=[1e-3, 1e-2]), problem="<script>alert(1)</script>")] * 2).decode()
    assert "<script>alert" not in page and "alert(1)" not in page


def test_the_pages_of_mlflow_are_for_this_machine_only():
    recipe = re.search(r"^ui:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "mlflow ui" in recipe[1]
    assert re.findall(r"--host[= ](\S+)", recipe[1]) == ["127.0.0.1"]


def test_that_a_file_is_code_is_said():
    assert (
        "The file is code that runs, so run only files that you trust."
        in (ROOT / "adamx/problems/README.md").read_text()
    )


# --- data sets -------------------------------------------------------------------------------------------------------

ARRAYS = st.one_of(
    st.sampled_from(["f8", "f4", "f2", "i8", "u1", "b1", "c16", "S3", "U2", "M8[s]", "f8,i4"]).flatmap(
        lambda dtype: st.builds(
            lambda shape, fill: np.full(shape, fill).astype(dtype) if fill is not None else np.zeros(shape, dtype),
            st.lists(st.integers(0, 6), max_size=3).map(tuple),
            st.none() | st.integers(0, 1) if dtype in ("f8", "f4", "f2", "i8", "u1", "b1") else st.none(),
        )
    ),
    st.lists(st.floats() | st.integers(0, 3), min_size=4, max_size=9).map(np.array),
    st.lists(st.tuples(st.floats(-9, 9), st.floats()), min_size=4, max_size=9).map(np.array),
    st.just(np.array([{"a": 1}, None], dtype=object)),
)


def npz(names, arrays):
    file = io.BytesIO()
    np.savez(file, **dict(zip(names, arrays, strict=False)))
    return file.getvalue()


def spoiled(content, at, new, cut):
    """Some bytes replaced, or what follows left out."""
    at = at % max(len(content), 1)
    return content[:at] if cut else content[:at] + new + content[at + len(new) :]


BYTES = st.one_of(
    st.binary(max_size=200),
    st.builds(npz, st.sampled_from([("x", "y"), ("x",), ("y", "x"), ("a", "b"), ()]), st.lists(ARRAYS, max_size=2)),
    st.builds(lambda a: npz(("x", "y"), (np.c_[a, a], a)), st.lists(st.floats(), min_size=3, max_size=9)),
)
CELLS = st.one_of(
    st.floats().map(str), st.integers().map(str), st.text(max_size=4),
    st.sampled_from(["", "nan", "inf", '"', '"a,b"', "1e999", "\0", "é", "=cmd()", "9" * 400, " 1", "True", "2020-1"]),
)  # fmt: skip
TABLES = st.one_of(
    st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=8).map("\n".join),
    st.lists(st.lists(st.floats(-9, 9).map(str), min_size=3, max_size=3).map(",".join), min_size=4, max_size=8).map(
        lambda rows: "a,b,c\n" + "\n".join(rows)
    ),
    st.builds("{}\n{}".format, st.text(max_size=20), st.text(max_size=60)),
)
SPOILS = st.tuples(st.integers(0, 2000), st.binary(max_size=8), st.booleans()) | st.none()


def read_bytes(folder, name, content, spoil, column=None):
    path = folder / name
    path.write_bytes(spoiled(content, *spoil) if spoil else content)
    with harmless(folder):
        x, y = read(str(path), column)[:2]
        assert x.ndim == 2 and y.shape == (len(x),) and len(x) >= 4
        assert np.isfinite(x).all() and ((y != "").all() if y.dtype.kind == "U" else np.isfinite(y).all())
        problem("dataset", {"path": str(path), "loss": "squares"})


@given(content=BYTES, spoil=SPOILS)
@fuzz(1500)
def test_npz_files(folder, content, spoil):
    read_bytes(folder, "data.npz", content, spoil)


@given(table=TABLES, spoil=SPOILS, column=st.none() | st.sampled_from(["a", "b", "", "é"]))
@fuzz(1000)
def test_csv_files(folder, table, spoil, column):
    read_bytes(folder, "data.csv", table.encode(errors="surrogatepass"), spoil, column)


class Malicious:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return open, ("pwned", "w")


def test_nothing_is_unpickled(folder):
    x = np.empty(5, dtype=object)
    x[:] = [Malicious()] * 5
    for words, content in (
        ("Python objects in 'x', which are code that would run", npz(("x", "y"), (x, np.zeros(5)))),
        ("Python objects in 'y', which are code that would run", npz(("x", "y"), (np.zeros((5, 2)), x))),
        ("cannot be read", pickle.dumps(Malicious())),
    ):
        (folder / "data.npz").write_bytes(content)
        with refused(folder, words):
            read(str(folder / "data.npz"), None)
    assert not (folder / "pwned").exists()


def test_headers_that_promise_too_much(folder):
    for shape in ("(10**20,)", f"({10**13},)", "(99999999999999999999,)", f"({2**62}, {2**62})"):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode()
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        with zipfile.ZipFile(folder / "data.npz", "w") as archive:
            for name in ("x.npy", "y.npy"):
                archive.writestr(name, array)
        with refused(folder):
            read(str(folder / "data.npz"), None)


def test_paths_that_are_no_files(folder):
    (folder / "folder.csv").mkdir()
    (folder / "circle.csv").symlink_to("circle.csv")
    (folder / "gone.npz").symlink_to("nowhere.npz")
    os.mkfifo(folder / "pipe.csv")
    (folder / "plain.txt").write_text("a,b\n1,2\n")
    names = [
        "folder.csv",
        "circle.csv",
        "gone.npz",
        "pipe.csv",
        "plain.txt",
        "",
        ".",
        "/",
        "a" * 5000 + ".csv",
        "\0.csv",
    ]
    for name in [*names, "~nobody-of-that-name/a.csv", "/dev/zero", "/proc/self/mem", "x.csv\ny"]:
        with refused(folder):
            read(name, None)
        with refused(folder):
            problem(name.removesuffix(".csv") + ".py")
        with refused(folder):
            optimizers.rule(name.removesuffix(".csv") + ".py")
    (folder / "real.csv").write_text("a,b\n" + "1,2\n2,3\n3,5\n4,4\n")
    (folder / "link.csv").symlink_to("real.csv")
    assert read("link.csv", None)[0].ravel().tolist() == [1, 2, 3, 4]


# --- the user's own problems and optimizers --------------------------------------------------------------------------

PROBLEM = """
import math
from typing import NamedTuple
from adamx.portable import portable
class Params(NamedTuple):
    a: float = 1.0
start = (1.0, 2.0)
minimum = 0.0
@portable
def value_and_grad(x, p):
    return p.a * x[0] ** 2 + x[1] ** 2, (2 * p.a * x[0], 2 * x[1])
"""
OPTIMIZER = """
import math
from typing import NamedTuple
from adamx.portable import portable
class Hyper(NamedTuple):
    lr: float = 0.1
class State(NamedTuple):
    m: float
@portable
def update(x, g, state, h, now):
    return x - h.lr * g, State(g)
"""
LINES = [
    "raise ValueError('two\\nlines')", "raise SystemExit(3)", "import sys; sys.exit()", "1 / 0", "def", "\t  x = (",
    "start = ()", "start = 'ab'", "start = (float('inf'),)", "start = None", "start = (1.0,)", "start = [[1.0], [2.0]]",
    "minimum = 'low'", "minimum = float('nan')", "Params = 3", "Params = dict", "bounds = 7", "minimizers = 3",
    "minimizers = ((1.0,),)", "target = -1", "target = 'far'", "target = float('inf')", "value_and_grad = 3",
    "del value_and_grad", "del start", "del update", "term = 3", "build = 3", "build = lambda: 3", "del portable",
    "value_and_grad = lambda x, p: (1.0, (1.0, 1.0))", "value_and_grad = portable(lambda x, p: (1.0,))",
    "value_and_grad = portable(lambda x: 1.0)", "value_and_grad = portable(lambda *a: value_and_grad(*a))",
    "value_and_grad = portable(lambda x, p: (math.inf, (1.0, 1.0)))", "value_and_grad = portable(lambda x, p: 'ab')",
    "value_and_grad = portable(lambda x, p: (math.nan, (math.nan, 0.0)))", "def build(a): return a",
    "def build(*a, **k): raise KeyError", "def build(a=1): return {}", "def build(a=[]): raise RecursionError",
    "def build(): import sys; sys.exit('bye')", "f = lambda n: f(n + 1)\nf(0)", "x = '-' * 10**5\neval(x + '1')",
    "raise type('E', (Exception,), {'__str__': lambda s: 'a\\r\\nb'})()", "assert False", "Hyper = 3", "Hyper = tuple",
    "Hyper = NamedTuple('Hyper', [('lr', float)])", "State = 3", "State = NamedTuple('State', [('a', str)])",
    "update = None", "update = portable(lambda x: x)", "update = portable(lambda x, g, s, h, n: (x, s, x))",
    "update = portable(lambda x, g, s, h, n: ('x', s))",
    "update = portable(lambda x, g, s, h, n: update(x, g, s, h, n))",
    "per_step = 3", "per_step = portable(lambda t, c, h: 1 / 0)", "per_step = portable(lambda t: t)", "pool = 3",
    "pool = portable(lambda *a: None)", "initial_state = 3", "initial_state = lambda h: None", "initial_clock = 3",
    "initial_state = lambda h: 1 / 0", "Clock = 3", "preconditioner = 3", "alternating = 3",
    "preconditioner = portable(lambda state, h, clock: (1.0, h.lr))", "__name__ = 3", "__doc__ = 3", "State = int",
    "x = '\\ud800'", "from __future__ import nothing", "\0", "\ufeff", "# coding: nonsense", "from . import x",
    "from adamx.problems.beale import *", "from adamx.optimizers.adam import *", "return 3", "yield", "await x",
]  # fmt: skip
count = itertools.count()


def tried(folder, text, load):
    path = folder / f"mine{next(count)}.py"  # another name: a file is read again only where its time has changed
    path.write_bytes(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    with harmless(folder):
        load(str(path))
    path.unlink()


def loads(kind):
    return {"problem": lambda path: problem(path, {}), "optimizer": lambda path: check(optimizers.rule(path), {})}[kind]


FILES = st.tuples(
    st.sampled_from(["problem", "optimizer"]),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=3),
    st.integers(0, 12),
    st.binary(max_size=20) | st.none(),
)


@given(file=FILES)
@fuzz(1500)
def test_files_of_the_user(folder, file):
    kind, lines, at, noise = file
    good = {"problem": PROBLEM, "optimizer": OPTIMIZER}[kind].splitlines()
    text = "\n".join([*good[:at], *lines[1:], *good[at:], lines[0]])
    tried(folder, text if noise is None else text.encode(errors="surrogatepass") + noise, loads(kind))


@pytest.mark.parametrize("line", LINES)
def test_each_fault_of_a_file(folder, line):
    tried(folder, PROBLEM + line, loads("problem"))
    tried(folder, OPTIMIZER + line, loads("optimizer"))


def test_the_files_are_right_without_a_fault(folder):
    (folder / "right_problem.py").write_text(PROBLEM)
    (folder / "right_rule.py").write_text(OPTIMIZER)
    assert problem("right_problem.py", {"a": 3.0}).dim == 2
    assert optimizers.rule("right_rule.py").defaults == {"lr": 0.1}


UNCOMPILABLE = {
    "problem": ("return p.a", "return eval('p').a", "eval", PROBLEM),
    "optimizer": ("return x -", "return eval('x') -", "eval", OPTIMIZER),
}


@pytest.mark.parametrize("kind", UNCOMPILABLE)
def test_good_python_that_is_no_kernel(folder, kind):
    """A long error of the compiler becomes its innermost reason and the line of the user's file."""
    old, new, reason, good = UNCOMPILABLE[kind]
    path = folder / f"interpreted_{kind}.py"
    path.write_text(good.replace(old, new))
    names = {"optimizer": "sgd", "problem": "quadratic", kind: f"./{path.name}"}
    line = path.read_text()[: path.read_text().index(new)].count("\n") + 1
    with pytest.raises(InputError, match=rf"interpreted_{kind}.* cannot be compiled.*{reason}.*line {line}\b"):
        adamx.simulate(hyper={"lr": 0.1}, steps=2, **names)
