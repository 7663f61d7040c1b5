"""Memory: the free bytes, within a container's limits too."""

from types import SimpleNamespace

import pytest

from adamx.sweep import command, memory

GB = 10**9


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes the files of a system: 8 GiB are free of the machine."""
    for name in ("GROUPS", "PROCESS"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**33))

    def write(process, files=None):
        (tmp_path / "PROCESS").write_text(process)
        for path, text in (files or {}).items():
            (tmp_path / "GROUPS" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "GROUPS" / path).write_text(f"{text}\n")

    return write


def v2(folder, most, now, stat="anon 1\ninactive_file 0"):
    return {f"{folder}memory.max": most, f"{folder}memory.current": now, f"{folder}memory.stat": stat}


def test_the_machine_alone(system):
    assert memory.free() == 2**33
    system("0::/\n", v2("", "max", GB))
    assert memory.free() == 2**33


def test_a_container_of_version_2(system):
    system("0::/\n", v2("", 2 * GB, GB, f"anon 5\ninactive_file {GB // 2}"))
    assert memory.free() == 1.5 * GB


def test_the_least_of_all_groups_above_counts(system):
    system("0::/a/b\n", {**v2("a/b/", "max", GB), **v2("a/", 4 * GB, GB), **v2("", 6 * GB, GB)})
    assert memory.free() == 3 * GB


def test_a_container_of_version_1(system):
    files = {"memory.limit_in_bytes": GB, "memory.usage_in_bytes": GB // 4, "memory.stat": "total_inactive_file 100"}
    system("5:cpu,cpuacct:/x\n4:memory:/host/path\n0::/\n", {f"memory/{name}": text for name, text in files.items()})
    assert memory.free() == GB - GB // 4 + 100  # the host's path is not there: the container's own is


def test_a_full_group_has_nothing_left(system):
    system("0::/\n", v2("", GB, 2 * GB))
    assert memory.free() == 0


def test_out_of_memory_is_one_line(here, monkeypatch, capsys):
    import sys

    import numpy as np

    def full(*_):
        np.empty(10**18, np.uint8)

    monkeypatch.setattr("adamx.sweep.progress.compute", full)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["adamx-sweep", "problem=beale", "steps=10"])
    assert command.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the memory does not suffice: Unable to allocate" in said
