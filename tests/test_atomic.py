"""Files appear whole or not at all, and records come back as they were written or not at all."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nuclei.atomic import HOST, atomic_folder, atomic_write, read_json, write_json
from nuclei.errors import UserError


def test_a_file_appears_whole(tmp_path):
    with atomic_write(tmp_path / "new" / "a.txt") as part:
        part.write_text("done")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_named(tmp_path):
    said = r"cannot write .*a.txt: No space left on device; free some space"
    with pytest.raises(UserError, match=said), atomic_write(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_not_said_to_be_unwritable(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()


def test_a_real_write_that_runs_out_of_room(tmp_path):
    code = "import sys; from nuclei.atomic import atomic_write\n"
    code += "with atomic_write(sys.argv[1]) as part: part.write_bytes(bytes(99999))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.bin")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "UserError: cannot write" in done.stderr and "File too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_at_the_next_write(tmp_path):
    code = "import os, signal, sys; from nuclei.atomic import atomic_write\n"
    code += "with atomic_write(sys.argv[1]) as part:\n part.touch(); os.kill(os.getpid(), signal.SIGTERM)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], env=env)
    assert done.returncode == -signal.SIGTERM and len(list(tmp_path.iterdir())) == 1
    day_old, fresh = ".a.txt.elsewhere-1-00000000.part", ".b.txt.elsewhere-1-00000000.part"
    others = [f".a.txt.{HOST}-{os.getppid()}-00000000.part", ".a.txt.1.part", fresh]
    for name in (*others, day_old):  # of a process that lives, of nobody, of another machine
        (tmp_path / name).touch()
    os.utime(tmp_path / day_old, (0, 0))
    with atomic_write(tmp_path / "a.txt") as part:
        part.write_text("done")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "a.txt"])


def test_a_file_of_a_container_of_the_same_name_stays(tmp_path):
    """Process numbers are a container's own: the one that writes there is another one here, or none."""
    code = "from nuclei.atomic import HOST; print(HOST, end='')"
    apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        host = subprocess.check_output([*apart, sys.executable, "-c", code], env=env, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespaces can be made here")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    part = tmp_path / f".a.txt.{host}-{ended.pid}-00000000.part"
    part.touch()
    with atomic_write(tmp_path / "b.txt"):
        assert part.exists()


def test_two_writers_of_one_process_do_not_share_a_file(tmp_path):
    with atomic_write(tmp_path / "a.txt") as first, atomic_write(tmp_path / "a.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert first != second and (tmp_path / "a.txt").read_text() == "first"


def test_the_longest_name(tmp_path):
    name = "é" * 125 + ".txt"
    with atomic_write(tmp_path / name) as part:
        part.write_text("done")
    assert (tmp_path / name).read_text() == "done"


def test_folders_that_ended_processes_left_go_too(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, kept = (tmp_path / f".demo.{HOST}-{pid}-0a1b2c3d.part" for pid in (ended.pid, os.getpid()))
    for folder in (left, kept):
        (folder / "stage1_train").mkdir(parents=True)
    with atomic_write(tmp_path / "a.txt"):
        pass
    assert not left.exists() and kept.exists()


def test_of_two_processes_that_make_a_folder_at_once_the_first_ones_stays(tmp_path):
    with (
        atomic_folder(tmp_path / "demo", "data.root") as second,
        atomic_folder(tmp_path / "demo", "") as first,
    ):
        for folder in (first, second):
            folder.mkdir()
            (folder / folder.name).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["demo", first.name]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a folder in which nothing can be made")
def test_a_folder_above_that_cannot_be_made_is_named():
    with pytest.raises(UserError, match=r"cannot write /proc/none/new/a.txt: "):  # noqa: SIM117
        with atomic_write("/proc/none/new/a.txt"):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="makes a folder read-only for one process by a mount")
def test_a_folder_on_a_disk_that_is_read_only_is_named(tmp_path):
    """There not even a temporary file of somebody else can be removed."""
    (tmp_path / f".a.txt.{HOST}-{2**22 + 1}-00000000.part").touch()  # Linux numbers processes up to 2**22
    code = "import sys; from nuclei.atomic import atomic_write\nwith atomic_write(sys.argv[1]): pass"
    mount = 'mount --bind "$3" "$3" && mount -o remount,ro,bind "$3" && exec "$1" -c "$2" "$3/a.txt"'
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [*words, sys.executable, code, str(tmp_path)], env=env, capture_output=True, text=True
        )
    except OSError:
        pytest.skip("unshare is missing")
    if "Traceback" not in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.stderr.splitlines()[-1] == (
        f"nuclei.errors.UserError: cannot write {tmp_path}/a.txt: Read-only file system; "
        "free some space or choose another folder"
    )


VALUES = {"name": "nucleus ✓", "score": 0.1 + 0.2, "none": None, "steps": [{"low": 0.5}, {}], "flag": True}


def test_values_come_back(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", VALUES)
    assert read_json(tmp_path / "x.json") == VALUES
    write_json(tmp_path / "x.json", {"ints": {10: 1, 9: (2, 3)}})
    assert read_json(tmp_path / "x.json") == {"ints": {"10": 1, "9": [2, 3]}}


def test_a_file_that_was_only_written_otherwise_is_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", VALUES)
    values = json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "x.json").write_text(json.dumps(dict(reversed(values.items()))))
    assert read_json(tmp_path / "x.json") == VALUES


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", VALUES)
    data = (tmp_path / "x.json").read_bytes()
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "x.json").write_bytes(damaged)
        try:
            assert read_json(tmp_path / "x.json") == VALUES  # a space that became another white space
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"checksum": 1}', "[" * 100_000])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")
    with pytest.raises(OSError):
        read_json(tmp_path / "none.json")
