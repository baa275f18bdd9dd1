"""``download`` through Kaggle's own SDK: zips within zips, faults, and what a second try finds."""

from __future__ import annotations

import io
import os
import resource
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from kaggle_server import KaggleServer
from sandbox import Sandbox, one_line

COUNTS = ("images.train=[3]", "images.test=[2]")
ROOT = "data/dsb2018"
MIB = 2**20


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def competition(train: int = 3, test: int = 2, level: str = "", more: int = 0) -> bytes:
    """Kaggle's one big zip, in small.

    ``level`` comes before the ImageIds inside ``stage1_train.zip``; ``more`` bytes make the zip large.
    """
    picture = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64, 4), np.uint8))[
        1
    ].tobytes()
    members = {}
    for n in range(train):
        members[f"{level}t{n}/images/t{n}.png"] = picture
        members[f"{level}t{n}/masks/m{n}.png"] = picture
    return zipped(
        {
            "stage1_train.zip": zipped(members),
            "stage1_test.zip": zipped({f"e{n}/images/e{n}.png": picture for n in range(test)}),
            "stage1_train_labels.csv.zip": zipped({"stage1_train_labels.csv": b"ImageId,EncodedPixels\n"}),
            "more.bin": bytes(more),
        }
    )


@pytest.fixture(autouse=True)
def archive(server: KaggleServer) -> None:
    server.state.archive = competition()


def nothing(sandbox: Sandbox) -> bool:
    """Say whether no file of the competition appeared, and no folder that would look like data."""
    return not (sandbox.folder / ROOT).exists()


@pytest.mark.parametrize("level", ["", "stage1_train/"])
def test_download_unpacks_counts_and_then_has_nothing_to_do(
    sandbox: Sandbox, server: KaggleServer, level: str
) -> None:
    server.state.archive = competition(level=level)
    done = sandbox.run("download", *COUNTS)
    assert done.returncode == 0, done.stderr
    assert "3 training images, 2 test images" in done.stdout.splitlines()[-1]
    assert sandbox.files() == [
        f"{ROOT}/more.bin",
        *(f"{ROOT}/stage1_test/e{n}/images/e{n}.png" for n in range(2)),
        *(f"{ROOT}/stage1_train/t{n}/{f}{n}.png" for n in range(3) for f in ("images/t", "masks/m")),
        f"{ROOT}/stage1_train_labels.csv",
    ]
    server.stop()
    again = sandbox.run("download", *COUNTS, KAGGLE_KEY="")
    assert again.returncode == 0 and "complete" in again.stdout, again.stderr


def test_an_archive_that_comes_without_a_redirect(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.redirect = False
    done = sandbox.run("download", *COUNTS)
    assert done.returncode == 0 and "3 training images" in done.stdout, done.stderr


def test_a_folder_of_zips_is_complete_as_it_is(sandbox: Sandbox, server: KaggleServer) -> None:
    (sandbox.folder / ROOT).mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(competition())) as z:
        z.extractall(sandbox.folder / ROOT)
    before = sandbox.files()
    done = sandbox.run("download", *COUNTS)
    assert done.returncode == 0 and "nothing to do" in done.stdout, done.stderr
    assert sandbox.files() == before and server.state.calls == []


def test_a_zip_from_the_browser_needs_no_account(sandbox: Sandbox, server: KaggleServer) -> None:
    (sandbox.folder / "mine.zip").write_bytes(competition())
    done = sandbox.run("download", "archive=mine.zip", *COUNTS, KAGGLE_KEY="")
    assert done.returncode == 0 and "3 training images" in done.stdout, done.stderr
    assert (sandbox.folder / "mine.zip").exists() and server.state.calls == []


def test_files_of_the_user_stay(sandbox: Sandbox) -> None:
    mine = sandbox.folder / ROOT / "stage1_train_labels.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert sandbox.run("download", *COUNTS).returncode == 0
    assert mine.read_text() == "mine"


def test_an_unfinished_folder_is_named_not_mended(sandbox: Sandbox, server: KaggleServer) -> None:
    image = sandbox.folder / ROOT / "stage1_train/t0/images/t0.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"x")
    said = one_line(sandbox.run("download", *COUNTS))
    assert "expected 3" in said and "found 1" in said and server.state.calls == []


def test_another_number_of_images_is_refused(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.archive = competition(train=1)
    assert "expected 3 images in stage1_train, found 1" in one_line(sandbox.run("download", *COUNTS))
    assert nothing(sandbox)


def test_a_transfer_that_breaks_off_goes_on(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.archive = competition(more=3 * MIB)
    server.state.cut = [2 * MIB + 1000]
    done = sandbox.run("download", *COUNTS)
    assert done.returncode == 0, done.stderr
    assert server.state.ranges == [f"bytes={2 * MIB}-"]  # the client writes pieces of 1 MiB


def test_half_a_download_is_kept_and_the_next_try_goes_on(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.archive = competition(more=3 * MIB)
    server.state.cut = [2 * MIB + 1000]
    assert "cannot reach Kaggle" in one_line(sandbox.run("download", "kaggle.retries=0", *COUNTS))
    assert nothing(sandbox)
    done = sandbox.run("download", *COUNTS)
    assert done.returncode == 0, done.stderr
    assert server.state.ranges == [f"bytes={2 * MIB}-"]  # the client writes pieces of 1 MiB
    assert not [p for p in os.listdir(sandbox.folder / "data") if p != "dsb2018"]


def test_a_damaged_zip_is_removed_and_the_next_try_works(sandbox: Sandbox, server: KaggleServer) -> None:
    good = server.state.archive
    middle = good.index(b"e0/images") + 200
    server.state.archive = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    said = one_line(sandbox.run("download", *COUNTS))
    assert "stage1_test.zip" in said and "run ./run.sh download again" in said
    assert nothing(sandbox)
    server.state.archive = good
    assert sandbox.run("download", *COUNTS).returncode == 0


def test_more_than_the_disk_holds_is_refused_at_once(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.length = 10**18
    assert "MB left" in one_line(sandbox.run("download", *COUNTS))
    assert nothing(sandbox)


def test_a_disk_that_fills_up_meanwhile(sandbox: Sandbox) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    said = one_line(sandbox.run("download", "kaggle.retries=0", *COUNTS, before=small_disk))
    assert "free some space" in said
    assert nothing(sandbox)
    assert sandbox.run("download", *COUNTS).returncode == 0


def test_rules_not_accepted(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse["DownloadDataFiles"] = (403, "")
    said = one_line(sandbox.run("download", *COUNTS))
    assert "403 Forbidden" in said and "https://www.kaggle.com/c/data-science-bowl-2018/rules" in said
    assert sandbox.files() == [] and nothing(sandbox)


def test_two_at_once_fetch_once(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.archive = competition(more=3 * MIB)
    server.state.delay["GET"] = 1.0
    processes = [sandbox.start("download", *COUNTS) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert any("is under way; waiting for it" in out and "nothing to do" in out for out, _ in said)
    assert server.state.calls.count("DownloadDataFiles") == 1
    assert os.listdir(sandbox.folder / "data") == ["dsb2018"]


def test_a_mistyped_competition(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse["DownloadDataFiles"] = (404, "")
    said = one_line(sandbox.run("download", "kaggle.competition=data-sience-bowl", *COUNTS))
    assert "kaggle.competition=data-sience-bowl" in said


@pytest.mark.parametrize("method", ["DownloadDataFiles", "GET"])
def test_a_silent_server(sandbox: Sandbox, server: KaggleServer, method: str) -> None:
    server.state.delay[method] = 20
    said = one_line(sandbox.run("download", "kaggle.patience=0.5", "kaggle.retries=0", *COUNTS))
    assert "imed out" in said and nothing(sandbox)


def test_no_network_and_no_credentials(sandbox: Sandbox, server: KaggleServer) -> None:
    server.stop()
    assert "cannot reach Kaggle" in one_line(sandbox.run("download", *COUNTS))
    assert "https://www.kaggle.com/settings/api" in one_line(sandbox.run("download", *COUNTS, KAGGLE_KEY=""))
    assert nothing(sandbox)


def test_demo_data_are_not_on_kaggle(sandbox: Sandbox) -> None:
    assert "data=demo" in one_line(sandbox.run("download", "data=demo"))


def test_the_real_files_are_complete(sandbox: Sandbox) -> None:
    real = Path(__file__).parents[3] / "shared/kaggle/data-science-bowl-2018"
    if not real.is_dir():
        pytest.skip(f"no competition data at {real}")
    done = sandbox.run("download", f"data.root={real}")
    assert done.returncode == 0 and "664 training images, 65 test images" in done.stdout, done.stderr
