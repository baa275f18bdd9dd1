"""Images of lists and of stores, and what is said of those that cannot be reached."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from nuclei.data.image_files import find_images
from nuclei.data.image_io import read_image
from nuclei.data.image_stores import find_inputs, local_copy
from nuclei.errors import UserError

SQUARE = np.pad(np.full((4, 4), 200, np.uint8), 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in two folders, among what is left out."""
    folder = tmp_path / "plates"
    for name in ("1/a.png", "2/a.png", "2/.hidden.png", "2/notes.txt", "0b/images/0b.png", "0b/masks/m.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), SQUARE) if name.endswith("png") else (folder / name).touch()
    return folder


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """The address of a server that has the folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_store_has_the_names_of_a_folder(folder: Path) -> None:
    stored, files = find_inputs(f"file://{folder}"), find_images(folder)
    assert stored.files == {name: f"file://{file}" for name, file in files.files.items()}
    assert list(stored.files) == ["0b", "1/a", "2/a"]


def test_one_file_of_a_store(folder: Path) -> None:
    address = f"file://{folder}/1/a.png"
    assert find_inputs(address).files == {"a": address}
    with local_copy(address) as path:
        assert (read_image(path).pixels == SQUARE).all() and path != folder / "1/a.png"
    assert not path.exists()


def test_files_of_a_web_server(web: str) -> None:
    found = find_inputs(f"{web}/2/")
    assert found.files == {"a": f"{web}/2/a.png"}
    with local_copy(found.files["a"]) as path:
        assert (read_image(path).pixels == SQUARE).all()


def test_a_list_of_files_and_addresses(folder: Path, web: str) -> None:
    (folder / "list.csv").write_text(
        f"number,path\n1,1/a.png\n2,{folder}/2/a.png\n3,{web}/1/a.png\n4,\n5,1/a.png\n"
    )
    found = find_inputs(str(folder / "list.csv"))
    assert list(found.files.values()) == [folder / "1/a.png", folder / "2/a.png", f"{web}/1/a.png"]
    assert len({name.casefold() for name in found.files}) == 3
    assert found.refused == [f"{folder}/list.csv, row 4: it names no file"]
    assert found.notes == [f"{folder}/list.csv: 1 rows name a file again, which is taken once"]
    assert next(iter(find_inputs(f"file://{folder}/list.csv").files.values())) == f"file://{folder}/1/a.png"


def test_a_list_in_parquet(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.table({"image": ["2/a.png", "gone.tif"], "x": [1, 2]}), folder / "list.parquet")
    found = find_inputs(str(folder / "list.parquet"))
    assert found.files == {"2/a": folder / "2/a.png", "gone": folder / "gone.tif"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("list.csv", "cannot read list.csv: there is no such file"),
        ("other.csv", "other.csv has no column path or image; it has file, size"),
        ("foo://bucket", "cannot reach foo://bucket: Protocol not known: foo"),
        ("http://127.0.0.1:9/images/", "cannot reach http://127.0.0.1:9/images/: "),
        ("file:///nowhere/images", "cannot reach file:///nowhere/images: there is no such"),
        ("abfs://a/b", "abfs://a/b needs the package adlfs; "),
        ("nowhere", "no file or folder at nowhere"),
    ],
)
def test_what_cannot_be_reached_is_named(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("file,size\na.png,1\n")
    with pytest.raises(UserError) as e:
        find_inputs(source)
    assert said in str(e.value) and "\n" not in str(e.value)


def test_errors_name_the_address_and_not_the_copy(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"no image")
    address = f"file://{folder}/bad.png"
    with pytest.raises(UserError, match=rf"^{address} is no image"), local_copy(address) as path:
        read_image(path)
    with (
        pytest.raises(UserError, match=r"^cannot read file:///nowhere\.png: "),
        local_copy("file:///nowhere.png"),
    ):
        pass
