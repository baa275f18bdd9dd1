"""Label maps, GeoJSON and COCO: what is read, and what is named and refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from nuclei.data.annotations import (
    coco_labels,
    merge_pixels,
    nuclei_of,
    pieces,
    polygon_pixels,
    read_coco,
    read_geojson,
    read_label_map,
)
from nuclei.data.image_files import is_mask_name, label_key
from nuclei.data.sources.demo import draw_nuclei
from nuclei.errors import UserError
from nuclei.inference.measure import LabelPart, measure, polygons
from nuclei.inference.segment_files import write_labels

LABELS = draw_nuclei(np.random.default_rng(0), (50, 70), 12, 6.0, 0.4)
RING = [[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]


def test_label_maps_of_any_kind_are_read_as_they_are(tmp_path: Path) -> None:
    many = np.arange(300 * 300).reshape(300, 300)  # over 65,535 labels: predict writes them as float
    write_labels(tmp_path / "many.tif", many, None)
    assert np.array_equal(read_label_map(tmp_path / "many.tif"), many)
    write_labels(tmp_path / "a.tif", LABELS, 0.25)
    tifffile.imwrite(tmp_path / "lzw.tif", LABELS.astype(np.int32), compression="lzw")
    cv2.imwrite(str(tmp_path / "a.png"), LABELS.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "grey.png"), np.repeat(LABELS[..., None], 3, 2).astype(np.uint8))
    np.save(tmp_path / "a.npy", LABELS)
    np.save(tmp_path / "mask.npy", LABELS > 0)
    for name in ("a.tif", "lzw.tif", "a.png", "grey.png", "a.npy"):
        assert np.array_equal(read_label_map(tmp_path / name), LABELS), name
    assert np.array_equal(read_label_map(tmp_path / "mask.npy"), LABELS > 0)


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("a.png", np.random.default_rng(0).integers(0, 255, (5, 5, 3)), "is a picture in colours"),
        ("a.png", cv2.applyColorMap(np.uint8(LABELS * 20), cv2.COLORMAP_VIRIDIS), "is a picture in colours"),
        (
            "a.tif",
            np.full((5, 5), 0.5, np.float32),
            "values that are not whole; expected 0 for the background",
        ),
        ("a.tif", np.full((5, 5), np.nan, np.float32), "values that are not whole"),
        ("a.tif", np.full((5, 5), -1, np.int16), "holds -1; expected 0 for the background"),
        ("a.tif", np.ones((4, 5, 5), np.uint16), "holds several planes"),
        ("a.npy", np.ones((3, 5, 5), np.uint16), r"expected one plane \(H, W\), got \(3, 5, 5\)"),
        ("a.npy", np.array([{"masks": 1}], object), "is no NumPy file with one array of numbers"),
        ("a.npy", np.array([["a"]]), "holds <U1; expected 0"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path: Path, name: str, array: Any, says: str) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, array)
    elif name.endswith("png"):
        cv2.imwrite(str(path), array.astype(np.uint8))
    else:
        tifffile.imwrite(path, array, photometric="minisblack")
    with pytest.raises(UserError, match=says):
        read_label_map(path)


def test_names_that_tools_give() -> None:
    names = (
        "a_cp_masks.png",
        "a_masks.tif",
        "a_img.png",
        "a.ome.tif",
        "a.tif.geojson",
        "a.png",
        "a_mask.png",
    )
    assert {label_key(Path(name)) for name in names} == {"a"}
    assert label_key(Path("plate/_masks.tif")) == "plate/_masks" and label_key(Path("a.b.tif")) == "a.b"
    assert is_mask_name(Path("a_cp_masks.png")) and not is_mask_name(Path("masks/a.png"))


def test_the_smaller_of_overlapping_nuclei_keeps_the_pixels() -> None:
    counts: Counter[str] = Counter()
    objects = [np.arange(6), np.array([2, 3]), np.array([], int), np.array([2]), np.array([3])]
    labels = merge_pixels(objects, (2, 4), counts)
    assert labels.tolist() == [[1, 1, 2, 3], [1, 1, 0, 0]]
    assert (counts["empty"], counts["overlapping"], counts["covered"]) == (1, 3, 1)


def test_what_predict_writes_for_qupath_comes_back(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[20:23, 30:33] = 0  # a hole, or a nucleus in pieces
    path = tmp_path / "a.geojson"
    path.write_text("".join(polygons([LabelPart(labels)], ["nucleus"], measure(labels, labels))))
    assert np.array_equal(read_geojson(path, labels.shape, Counter()), labels)


def test_shapes_that_meet_at_corners_come_back_as_simple_rings(tmp_path: Path) -> None:
    """Programs refuse a ring that touches itself: two squares with one corner in common, holes likewise."""
    labels = np.zeros((40, 60), np.int32)
    labels[2:5, 2:5] = labels[5:8, 5:8] = 1
    labels[2:9, 12:19], labels[3, 13], labels[2, 12] = 2, 0, 0
    labels[2:12, 22:32], labels[4:7, 24:27], labels[7:9, 27:29] = 3, 0, 0
    labels[2, 36] = 4
    labels[14:30, 2:18], labels[16:28, 4:16], labels[20:24, 8:12] = 5, 0, 5
    labels[14:20, 22:28], labels[14, 22], labels[15, 23], labels[16, 24] = 6, 0, 0, 0
    labels[14:36, 34:56] = np.where(np.random.default_rng(0).random((22, 22)) > 0.45, 7, 0)
    path = tmp_path / "a.geojson"
    path.write_text("".join(polygons([LabelPart(labels)], ["nucleus"], measure(labels, labels))))
    assert np.array_equal(read_geojson(path, labels.shape, Counter()), labels)
    for each in json.loads(path.read_text())["features"]:
        shape = each["geometry"]
        parts = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        for ring in (ring for part in parts for ring in part):
            points = list(map(tuple, ring[:-1]))
            assert ring[0] == ring[-1] and len(set(points)) == len(points)


def feature(geometry: dict[str, Any], kind: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": kind}, **more}


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def test_holes_pieces_regions_and_nuclei_of_cells(tmp_path: Path) -> None:
    hole = [[12, 12], [14, 12], [14, 14], [12, 14], [12, 12]]
    far = [[[30, 30], [33, 30], [33, 33], [30, 33], [30, 30]]]
    features = [
        feature({"type": "MultiPolygon", "coordinates": [[RING, hole], far]}, "detection"),
        feature(polygon([[0, 0], [70, 0], [70, 50], [0, 50], [0, 0]]), "annotation"),
        feature({"type": "Point", "coordinates": [3, 3]}, "annotation"),
        feature(polygon([[40, 0], [60, 0], [60, 20], [40, 20]]), "cell", nucleusGeometry=polygon(
            [[45, 5], [50, 5], [50, 10], [45, 10]]
        )),
    ]  # fmt: skip
    path, counts = tmp_path / "a.geojson", Counter[str]()
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    labels = read_geojson(path, (50, 70), counts)
    expected = np.zeros((50, 70), int)
    expected[10:20, 10:20], expected[12:14, 12:14] = 1, 0
    expected[30:33, 30:33], expected[5:10, 45:50] = 1, 2
    assert np.array_equal(labels, expected)
    assert (counts["regions left out"], counts["points or lines left out"]) == (1, 1)
    path.write_text(json.dumps([feature(polygon(RING), "annotation")]))  # a bare list, drawn by hand
    assert read_geojson(path, (50, 70), counts).sum() == 100


def test_a_polygon_is_cut_at_the_edge_and_refused_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(feature(polygon([[-5, -5], [5, -5], [5, 5], [-5, 5]]))))
    assert read_geojson(path, (50, 70), Counter()).sum() == 25
    for ring in ([[70, 0], [80, 0], [80, 9]], [[0, 50], [9, 50], [9, 60]], [[-9, 1], [-1, 1], [-1, 9]]):
        path.write_text(json.dumps([feature(polygon(RING)), feature(polygon(ring))]))
        with pytest.raises(UserError, match="feature 2 lies outside of the image of 70x50 pixels, at x="):
            read_geojson(path, (50, 70), Counter())


@pytest.mark.parametrize("text", ["{", "[1]", '{"features": 3}', '[{"geometry": null}]', '"a"', "null"])
def test_damaged_geojson_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(UserError, match=r"a\.geojson"):
        read_geojson(tmp_path / "a.geojson", (9, 9), Counter())


def test_damaged_rings_are_one_line(tmp_path: Path) -> None:
    for ring in ([[1, 1]], [], [[1, 2], [2]], [["a", 1], [2, 2], [3, 3]], None):
        (tmp_path / "a.geojson").write_text(json.dumps([feature(polygon(ring))]))
        with pytest.raises(UserError, match=r"a\.geojson"):
            read_geojson(tmp_path / "a.geojson", (9, 9), Counter())


def coco(path: Path, annotations: list[dict[str, Any]], **image: Any) -> Path:
    images = [{"id": 7, "file_name": "a.png", "height": 50, "width": 70} | image]
    annotations = [{"id": n, "image_id": 7, **a} for n, a in enumerate(annotations, 1)]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_coco_polygons_run_lengths_and_crowds(tmp_path: Path) -> None:
    mask = np.zeros((50, 70), int)
    mask[30:40, 2:9] = 1
    runs = np.diff(np.flatnonzero(np.diff(np.r_[-1, mask.T.ravel(), -1]))).tolist()
    annotations = [
        {"segmentation": [[10, 10, 20, 10, 20, 20, 10, 20], [30, 30, 33, 30, 33, 33, 30, 33]]},
        {"segmentation": {"size": [50, 70], "counts": runs}},
        {"segmentation": {"size": [50, 70], "counts": runs}, "iscrowd": 1},
    ]
    entries = read_coco(coco(tmp_path / "c.json", annotations))
    assert entries is not None and list(entries) == ["a.png"]
    counts: Counter[str] = Counter()
    labels = coco_labels(entries["a.png"], (50, 70), counts, "c.json, a.png")
    expected = mask * 2
    expected[10:20, 10:20] = expected[30:33, 30:33] = 1
    assert np.array_equal(labels, expected) and counts["crowds left out"] == 1


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_compressed_run_lengths_are_pycocotools(tmp_path: Path, share: float) -> None:
    peer = pytest.importorskip("pycocotools.mask", reason="a peer of requirements-bench.txt")
    for seed in range(20):
        mask = np.random.default_rng(seed).random((50, 70)) < share
        code = peer.encode(np.asfortranarray(mask, np.uint8))
        segmentation = {"size": code["size"], "counts": code["counts"].decode()}
        entries = read_coco(coco(tmp_path / "c.json", [{"segmentation": segmentation}]))
        assert entries is not None
        assert np.array_equal(coco_labels(entries["a.png"], (50, 70), Counter(), "c"), mask)


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ({"segmentation": []}, "annotation 1: expected polygons or run lengths: it has a box and no outline"),
        ({"segmentation": [[1, 2, 3]]}, "annotation 1: expected polygons or run lengths"),
        (
            {"segmentation": {"size": [5, 5], "counts": [25]}},
            "run lengths of .5, 5. for an image of .50, 70.",
        ),
        ({"segmentation": {"size": [50, 70], "counts": [9]}}, "run lengths that do not fill the image"),
        ({"segmentation": {"size": [50, 70], "counts": "zz~"}}, "expected polygons or run lengths"),
        ({"segmentation": [[90, 1, 99, 1, 99, 9]]}, "annotation 1 lies outside of the image of 70x50"),
    ],
)
def test_coco_that_cannot_be_used(tmp_path: Path, annotation: dict[str, Any], says: str) -> None:
    entries = read_coco(coco(tmp_path / "c.json", [annotation]))
    assert entries is not None
    with pytest.raises(UserError, match=says):
        coco_labels(entries["a.png"], (50, 70), Counter(), "c.json, a.png")


def test_coco_files_that_contradict_themselves(tmp_path: Path) -> None:
    entries = read_coco(coco(tmp_path / "c.json", [], height=9))
    assert entries is not None
    with pytest.raises(UserError, match="annotated at 70x9 pixels, the image has 70x50"):
        coco_labels(entries["a.png"], (50, 70), Counter(), "c.json, a.png")
    with pytest.raises(UserError, match="annotation 1 is of image 8, which is not in its list"):
        read_coco(coco(tmp_path / "c.json", [{"image_id": 8}]))
    (tmp_path / "c.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(UserError, match="expected COCO's images and annotations"):
        read_coco(tmp_path / "c.json")
    (tmp_path / "c.json").write_text('{"other": 1}')
    assert read_coco(tmp_path / "c.json") is None


def test_polygons_and_pieces_by_hand() -> None:
    assert polygon_pixels([[[[0.5, 0.5], [2.4, 0.4], [2.4, 1.6], [0.4, 1.6]]]], (3, 4)).tolist()[-2:] == [
        4,
        5,
    ]
    assert pieces(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]])).max() == 2


@pytest.mark.parametrize(
    "options", [{"photometric": "miniswhite"}, {"photometric": "palette", "colormap": True}]
)
def test_a_mask_of_imagej_whose_look_up_table_is_inverted_keeps_its_numbers(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 255
    if options["photometric"] == "palette":
        options = options | {
            "colormap": np.repeat(np.arange(255, -1, -1)[None] * 257, 3, 0).astype(np.uint16)
        }
    tifffile.imwrite(tmp_path / "mask.tif", mask, **options)
    assert np.array_equal(read_label_map(tmp_path / "mask.tif"), mask)


def nuclei_and_classes() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the labels of five squares, and masks of them that are no label maps."""
    labels = np.zeros((40, 60), np.int32)
    for n in range(5):
        labels[10:20, 11 * n + 2 : 11 * n + 10] = n + 1
    rim = cv2.dilate((labels > 0).astype(np.uint8), np.ones((3, 3))) - (labels > 0)
    return labels, {
        "no background": np.where(labels > 0, 2, 1),
        "classes of pixels": (labels > 0) + 2 * rim.astype(int),
    }


@pytest.mark.parametrize("fault", ["no background", "classes of pixels"])
def test_masks_that_are_no_label_maps_are_refused(fault: str) -> None:
    with pytest.raises(UserError, match=f"a.png .*{fault}"):
        nuclei_of(nuclei_and_classes()[1][fault], "a.png", Counter())


def test_of_a_mask_of_one_value_the_pieces_are_nuclei() -> None:
    labels, counts = nuclei_and_classes()[0], Counter[str]()
    assert (nuclei_of((labels > 0) * 255, "a.png", counts) == labels).all()
    assert counts["masks of one value, whose connected pieces are taken for nuclei"] == 1
    assert not counts["in several pieces"]


def test_nuclei_in_pieces_and_inverted_masks_are_counted() -> None:
    labels, counts = nuclei_and_classes()[0], Counter[str]()
    labels[15, :] = 0
    labels[labels > 2] = 0
    labels[30:, 30:] = 9
    labels[:5, :5], labels[:5, 8:9] = 10, 11
    labels[10:20, 13:21] = 0
    assert set(np.unique(nuclei_of(labels, "a.png", counts))) == {0, 1, 2, 3, 4}
    assert counts["in several pieces"] == 1
    nuclei_of((labels == 0).astype(np.uint8), "b.png", counts)
    assert counts["nuclei larger than half of their image (is the mask inverted?)"] == 1


def test_the_region_around_annotated_nuclei_is_no_nucleus(tmp_path: Path) -> None:
    def square(x: float, y: float, side: float, **properties: Any) -> dict[str, Any]:
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "geometry": geometry, "properties": properties}

    nuclei = [square(x, 4, 8, objectType="annotation") for x in (2, 12, 22)]
    star = square(30, 30, 9, objectType="annotation", classification={"name": "Region*"})
    path, counts = tmp_path / "a.geojson", Counter[str]()
    path.write_text(json.dumps([square(0, 0, 40, objectType="annotation"), star, *nuclei]))
    labels = read_geojson(path, (40, 40), counts)
    assert np.bincount(labels.ravel())[1:].tolist() == [64, 64, 64]
    assert counts["regions left out"] == 2 and not counts["overlapping"]
    old = [
        {**square(2, 4, 8), "id": "PathDetectionObject"},
        {**square(0, 0, 40), "id": "PathAnnotationObject"},
    ]
    path.write_text(json.dumps(old))
    assert read_geojson(path, (40, 40), counts).sum() == 64


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": name, "height": None} for name in ("a.tif", "b.tif")]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(UserError, match="two images one id"):
        read_coco(tmp_path / "coco.json")
