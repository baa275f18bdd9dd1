"""One's own images beside their annotations, in every layout, and what is named and refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nuclei.build import check_state
from nuclei.cli import main
from nuclei.config import compose_config
from nuclei.data.folds import make_folds
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.data.sources.folder import Folder, choose_sizes
from nuclei.data.store import Store, prepare
from nuclei.errors import UserError
from nuclei.inference.measure import LabelPart, measure, polygons

NAMES = ("a", "b", "c d")


def labels_of(name: str) -> np.ndarray:
    return draw_nuclei(np.random.default_rng(ord(name[0])), (64, 80), 10, 7.0, 0.3)


def image_of(name: str) -> np.ndarray:
    return draw_fluorescence(np.random.default_rng(ord(name[0])), labels_of(name))[..., 0]


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix in (".png", ".jpg"):
        cv2.imwrite(str(path), array)
    else:
        tifffile.imwrite(path, array, photometric="minisblack")


def geojson(name: str) -> str:
    labels = labels_of(name)
    return "".join(polygons([LabelPart(labels)], ["nucleus"], measure(labels, labels)))


def write_coco(root: Path, file: str = "annotations.json") -> None:
    """Every image under images/, its nuclei as run lengths in one COCO file."""
    images, annotations = [], []
    for number, name in enumerate(NAMES):
        write(root / "images" / f"{name}.png", image_of(name))
        images.append({"id": number, "file_name": f"{name}.png", "height": 64, "width": 80})
        labels = labels_of(name)
        for label in range(1, int(labels.max()) + 1):
            flat = (labels == label).T.ravel().astype(int)
            runs = np.diff(np.flatnonzero(np.diff(np.r_[-1, flat, -1]))).tolist()
            runs = [0, *runs] if flat[0] else runs
            segmentation = {"size": [64, 80], "counts": runs}
            annotations.append({"id": label, "image_id": number, "segmentation": segmentation})
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps({"images": images, "annotations": annotations}))


def beside(image: str, annotation: str) -> Callable[[Path], None]:
    """A layout from patterns of the paths, with NAME for the name."""

    def lay(root: Path) -> None:
        for name in NAMES:
            write(root / image.replace("NAME", name), image_of(name))
            path = root / annotation.replace("NAME", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".geojson":
                path.write_text(geojson(name))
            else:
                write(path, labels_of(name).astype(np.uint16))

    return lay


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "stardist": beside("images/NAME.tif", "masks/NAME.tif"),
    "labels": beside("images/NAME.png", "labels/NAME.npy"),
    "cellpose": beside("NAME.tif", "NAME_masks.png"),
    "cellpose gui": beside("NAME.png", "NAME_cp_masks.png"),
    "cellpose training set": beside("NAME_img.png", "NAME_masks.png"),
    "plates": beside("plate/images/NAME.tif", "plate/masks/NAME_mask.tif"),
    "qupath": beside("NAME.ome.tif", "NAME.ome.geojson"),
    "qupath in a folder": beside("images/NAME.png", "geojson/NAME.geojson"),
    "coco": write_coco,
    "cvat": lambda root: write_coco(root, "annotations/instances_default.json"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pixels_and_nuclei(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path / "mine")
    (tmp_path / "mine" / ".DS_Store").write_text("x")
    (tmp_path / "mine" / "notes.json").write_text("{}")
    source = Folder(tmp_path / "mine")
    counts = prepare(source, tmp_path / "x.store", workers=1)
    assert (counts["train"], counts["test"]) == (3, 0)
    store = Store(tmp_path / "x.store")
    for image_id, name in zip(store.ids("train"), NAMES, strict=True):
        assert image_id.endswith(name.replace(" ", "_"))
        assert np.array_equal(store.image(image_id), image_of(name))
        assert np.array_equal(store.labels(image_id) > 0, labels_of(name) > 0)
        assert store.row(image_id).nuclei == labels_of(name).max()
    assert store.state == source.state() != ""


def test_pictures_beside_images_are_left_out(tmp_path: Path) -> None:
    LAYOUTS["cellpose"](tmp_path)
    for name in ("a_flows.tif", "a_cp_outlines.png", "overlays/a.png"):
        write(tmp_path / name, image_of("a"))
    (tmp_path / "a_seg.npy").write_bytes(b"pickled")
    assert [item.image_id for item in Folder(tmp_path).items("train")] == ["a", "b", "c_d"]


def test_masks_of_one_value_fall_into_pieces_and_gaps_are_closed(tmp_path: Path) -> None:
    two = np.zeros((64, 80), np.uint8)
    two[5:9, 5:9] = two[30:39, 40:49] = 255
    gaps = np.where(two[:20].any(), two.astype(np.uint16), 0) * 3
    gaps[30:39, 40:49] = 9
    write(tmp_path / "images" / "a.png", image_of("a"))
    write(tmp_path / "masks" / "a.png", two)
    write(tmp_path / "images" / "b.png", image_of("b"))
    write(tmp_path / "masks" / "b.tif", gaps)
    write(tmp_path / "images" / "c.png", image_of("c"))
    write(tmp_path / "masks" / "c.png", two * 0)  # an image without nuclei
    counts = prepare(Folder(tmp_path), tmp_path / "x.store", workers=1)
    store = Store(tmp_path / "x.store")
    assert [store.row(name).nuclei for name in "abc"] == [2, 2, 0]
    assert counts["masks of one value, whose connected pieces are taken for nuclei"] == 1


def test_a_channel_is_chosen_by_its_name(tmp_path: Path) -> None:
    stack = np.stack([image_of("b"), image_of("a")])
    (tmp_path / "images").mkdir()
    metadata = {"axes": "CYX", "Channel": {"Name": ["actin", "DAPI"]}}
    tifffile.imwrite(tmp_path / "images" / "a.ome.tif", stack, photometric="minisblack", metadata=metadata)
    write(tmp_path / "masks" / "a.tif", labels_of("a").astype(np.uint16))
    for channel, name in ((None, "a"), ("actin", "b"), (1, "b")):
        (item,) = Folder(tmp_path, channel).items("train")
        assert np.array_equal(item.read_image(), image_of(name))


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def put(path: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda root: write(root / path, array)


LABELS = labels_of("a").astype(np.uint16)
COLOURS = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("layout", "damage", "says"),
    [
        (
            "stardist",
            remove("masks/b.tif"),
            r"1 image without an annotation, first .*images/b\.tif; expected",
        ),
        ("stardist", remove("images/b.tif"), r"1 annotation without an image, first .*masks/b\.tif"),
        ("stardist", put("masks/a.tif", LABELS[:-1]), r"masks/a\.tif has 80x63 pixels, .*a\.tif has 80x64"),
        ("labels", put("labels/a.png", COLOURS), r"a\.npy and .*a\.png are two annotations of one image"),
        ("stardist", put("labels/a.png", LABELS), "are two annotations of one image; keep one of them"),
        ("stardist", put("images/a.png", image_of("a")), "are two images of one name; rename one of them"),
        ("cellpose", put("a_masks.png", COLOURS), r"a_masks\.png is a picture in colours, no label map"),
        ("stardist", put("masks/a.tif", LABELS / np.float32(3)), "holds float32 values that are not whole"),
        (
            "stardist",
            put("masks/z.jpg", COLOURS),
            r"\.jpg changes numbers or colours; save label maps as TIFF",
        ),
        ("stardist", put("images/a.tif", np.stack([image_of("a")] * 4)), "holds several images"),
        ("coco", put("masks/a.png", LABELS), r"annotations\.json and .*masks/a\.png both hold annotations"),
        ("coco", remove("images/b.png"), r"lists 1 image that .* lacks, first b\.png; put them beside it"),
        (
            "coco",
            put("images/z.png", image_of("a")),
            r"1 image not in the list of .*annotations\.json, first",
        ),
        ("coco", put("images/a.png", image_of("a")[:60]), "annotated at 80x64 pixels, the image has 80x60"),
        ("qupath", put("a.ome.tif", image_of("a")[:9, :9]), r"a\.ome\.geojson, feature 1 lies outside of"),
    ],
)
def test_faults_are_named_in_one_line(
    tmp_path: Path, layout: str, damage: Callable[[Path], None], says: str, capsys: pytest.CaptureFixture
) -> None:
    """A fault of one image leaves it out; one of the whole folder ends prepare before anything is written."""
    LAYOUTS[layout](tmp_path / "mine")
    damage(tmp_path / "mine")
    try:
        counts = prepare(Folder(tmp_path / "mine"), tmp_path / "x.store", workers=1)
        (error,) = capsys.readouterr().err.splitlines()
        assert counts["left out"] == 1 and error.startswith("left out: train image ")
    except UserError as e:
        error = str(e)
        assert "\n" not in error and not (tmp_path / "x.store").exists()
    assert re.search(says, error)


def test_empty_annotations_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*mine; name that of your images: data\.root=FOLDER"):
        Folder(tmp_path / "mine").fetch()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match=r"no images below .*; expected images/ beside masks/"):
        Folder(tmp_path / "mine").items("train")
    write(tmp_path / "mine" / "a.png", image_of("a"))
    write(tmp_path / "mine" / "a_masks.png", LABELS * 0)
    with pytest.raises(UserError, match=r"none of the 1 training images in .*mine has a nucleus"):
        prepare(Folder(tmp_path / "mine"), tmp_path / "x.store", workers=1)
    for name in ("train", "test"):
        (tmp_path / "mine" / name).mkdir()
    with pytest.raises(UserError, match=r"has train/ and test/; name one: data\.root=.*mine/train"):
        Folder(tmp_path / "mine").fetch()


def test_cellposes_own_files_are_not_unpickled(tmp_path: Path) -> None:
    write(tmp_path / "a.png", image_of("a"))
    np.save(tmp_path / "a_seg.npy", np.array({"masks": LABELS}, object))
    with pytest.raises(UserError, match=r"_seg\.npy files may hold code and are not read: save masks as PNG"):
        Folder(tmp_path).items("train")


def test_two_names_that_become_one_are_an_error(tmp_path: Path) -> None:
    for name in ("a b", "a_b"):
        write(tmp_path / f"{name}.png", image_of("a"))
        write(tmp_path / f"{name}_masks.png", LABELS)
    with pytest.raises(UserError, match="has the name of another image, a_b; rename one"):
        Folder(tmp_path).items("train")


def test_the_state_changes_with_an_annotation(tmp_path: Path) -> None:
    LAYOUTS["stardist"](tmp_path)
    before = Folder(tmp_path).state()
    (tmp_path / "notes.txt").write_text("x")
    assert Folder(tmp_path).state() == before
    write(tmp_path / "masks" / "a.tif", labels_of("b").astype(np.uint16))
    assert Folder(tmp_path).state() != before


@pytest.mark.parametrize(
    ("factor", "diameter", "crop", "scale"),
    [(1, 26, 128, (0.88, 3.53)), (4, 26, 128, (0.22, 0.88)), (1, None, 128, (0.5, 2.0))],
)
def test_crops_follow_the_sizes_of_images_and_nuclei(
    tmp_path: Path, factor: int, diameter: float | None, crop: int, scale: tuple[float, float]
) -> None:
    for name in NAMES:
        ones = np.ones((factor, factor), np.uint16)
        write(tmp_path / f"{name}.tif", np.kron(image_of(name), ones.astype(np.uint8)))
        write(tmp_path / f"{name}_masks.tif", np.kron(labels_of(name), ones).astype(np.uint16))
    prepare(Folder(tmp_path), tmp_path / "x.store", workers=1)
    sizes = choose_sizes(Store(tmp_path / "x.store"), diameter)
    assert sizes.crop == crop and sizes.scale == pytest.approx(scale, abs=0.01)
    assert sizes.diameter == pytest.approx(14 * factor, rel=0.15)


def test_few_images_have_fewer_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["stardist"](tmp_path)
    prepare(Folder(tmp_path), tmp_path / "x.store", workers=1)
    store = Store(tmp_path / "x.store")
    rows = make_folds(store, 5, 0, 0.8, 2.5, 0, fewer=True)
    assert sorted(row.fold for row in rows) == [0, 1, 2]
    assert "3 images in 3 unrelated groups: folds lowered to 3" in capsys.readouterr().out
    with pytest.raises(UserError, match="n_folds=5: expected 2 to 3"):
        make_folds(store, 5, 0, 0.8, 2.5, 0)
    assert Counter(row.fold for row in make_folds(store, 2, 0, 0.8, 2.5, 0, fewer=True)).keys() == {0, 1}


def test_a_folder_that_changed_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    LAYOUTS["stardist"](tmp_path / "mine")
    words = ["data=folder", "data.root=mine", "fold=0", "model=otsu", "postprocess=otsu"]
    assert main(["train", *words]) == 0
    out = capsys.readouterr().out
    assert "folds lowered to 3" in out and "nuclei have a diameter of 15 pixels: crops of 128 pixels" in out
    assert main(["train", *words[:2], "fold=4", *words[3:]]) == 2
    assert "fold=4: expected 0 to 2, the folds of" in capsys.readouterr().err
    write(tmp_path / "mine" / "masks" / "a.tif", labels_of("b").astype(np.uint16))
    assert main(["train", *words]) == 2
    assert "was made of other files than mine has now; run ./run.sh prepare data=folder data.root=mine" in (
        capsys.readouterr().err
    )


def test_a_single_image_trains_on_all_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine" / "a.png", image_of("a"))
    write(tmp_path / "mine" / "a_masks.png", LABELS)
    words = ["data=folder", "data.root=mine", "model=otsu", "postprocess=otsu"]
    assert main(["train", *words, "fold=0"]) == 2
    assert "fold=0 holds out every image; choose fold=all" in capsys.readouterr().err
    assert main(["train", *words, "fold=all"]) == 0


def test_an_image_that_was_left_out_is_named_at_each_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        write(tmp_path / "images" / f"{name}.png", image_of(name))
        write(tmp_path / "masks" / f"{name}.png", labels_of(name).astype(np.uint8))
    write(tmp_path / "masks" / "a.png", labels_of("a").astype(np.uint8)[:9])  # of another size
    store = tmp_path / "x.store"
    prepare(Folder(tmp_path), store, workers=1)
    cfg = compose_config("train", ["data=folder", f"data.root={tmp_path}", f"data.store={store}"])
    capsys.readouterr()
    check_state(cfg)
    assert "warning: 1 images of" in (err := capsys.readouterr().err)
    assert f"prepare data=folder data.root={tmp_path} data.store={store} data.folds=" in err
