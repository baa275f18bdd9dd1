"""Kaggle's zips within zips."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nuclei.errors import UserError
from nuclei.kaggle.unpack import DamagedZip, move_into, unpack


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "bowl.zip"


@pytest.mark.parametrize("level", ["", "stage1_train/"])
def test_inner_zips_become_folders_with_or_without_a_level(archive: Path, level: str) -> None:
    inner = zipped({f"{level}a/images/a.png": b"1", f"{level}a/masks/m.png": b"2", "__MACOSX/x": b"3"})
    labels = zipped({"labels.csv": b"4"})
    archive.write_bytes(zipped({"stage1_train.zip": inner, "labels.csv.zip": labels, "plain.txt": b"5"}))
    into = archive.parent / "out"
    unpack(archive, into)
    expected = ["labels.csv", "plain.txt", "stage1_train/a/images/a.png", "stage1_train/a/masks/m.png"]
    assert files(into) == expected
    assert (into / "labels.csv").read_bytes() == b"4"
    assert archive.exists()


def test_one_big_zip_of_folders_stays_as_it_is(archive: Path) -> None:
    archive.write_bytes(zipped({"stage1_test/a/images/a.png": b"1", "stage1_train/b/images/b.png": b"2"}))
    unpack(archive, archive.parent / "out")
    assert files(archive.parent / "out") == ["stage1_test/a/images/a.png", "stage1_train/b/images/b.png"]


@pytest.mark.parametrize(
    "name", ["../out.txt", "/tmp/nuclei-out.txt", "a/../../out.txt", "..\\out.txt", "C:\\x"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_names_that_lead_out_are_refused(archive: Path, name: str, nested: bool) -> None:
    data = zipped({"good.txt": b"1", name: b"2"})
    archive.write_bytes(zipped({"inner.zip": data}) if nested else data)
    with pytest.raises(DamagedZip, match="leads out"):
        unpack(archive, archive.parent / "deep" / "out")
    assert not list(archive.parent.glob("**/out.txt")) and not os.path.exists("/tmp/nuclei-out.txt")


def test_links_are_refused(archive: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr(link, "/etc")
    with pytest.raises(DamagedZip, match="link"):
        unpack(archive, archive.parent / "out")


@pytest.mark.parametrize("nested", [False, True])
def test_a_flipped_byte_and_a_cut_are_noticed(archive: Path, nested: bool) -> None:
    good = zipped({"a.bin": os.urandom(5000)}, zipfile.ZIP_STORED)
    for bad in (good[:2000] + bytes([good[2000] ^ 1]) + good[2001:], good[: len(good) // 2], b"", b"no zip"):
        archive.write_bytes(zipped({"inner.zip": bad}) if nested else bad)
        with pytest.raises(DamagedZip, match=r"inner\.zip" if nested else r"bowl\.zip"):
            unpack(archive, archive.parent / "out")
        shutil.rmtree(archive.parent / "out", ignore_errors=True)


def test_a_zip_that_cannot_fit_is_refused_before_anything_is_written(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("a.bin", b"1")
        z.filelist[0].file_size = 2**60
        z.filelist[0].compress_size = 1
    with pytest.raises(UserError, match="MB left"):
        unpack(archive, archive.parent / "out")
    assert files(archive.parent / "out") == []


def test_a_disk_that_refuses_is_one_line(archive: Path) -> None:
    """A limit on the size of a file stands for a full disk: the write fails halfway."""
    archive.write_bytes(zipped({"a.bin": bytes(300_000)}))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from pathlib import Path; from nuclei.errors import UserError\n"
        "from nuclei.kaggle.unpack import unpack\n"
        "try: unpack(*map(Path, sys.argv[1:]))\n"
        "except UserError as e: print(e)"
    )
    same_path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", code, str(archive), str(archive.parent / "out")]
    said = subprocess.run(words, env=same_path, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith(f"cannot unpack {archive}") and said.count("\n") == 1


def test_move_into_keeps_what_is_there(tmp_path: Path) -> None:
    stage, root = tmp_path / "stage", tmp_path / "root"
    for path in ("stage/a/new", "stage/b/new", "stage/c", "root/a/old"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (root / "b").mkdir()
    assert move_into(stage, root) == ["b", "c"]
    assert files(root) == ["a/old", "b/new", "c"]
