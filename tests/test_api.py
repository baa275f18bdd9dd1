"""The functions for Python."""

import doctest
from pathlib import Path

import cv2
import numpy as np
import pytest

import nuclei


@pytest.fixture
def scene() -> np.ndarray:
    """A dark image with two bright discs."""
    image = np.full((96, 128), 20, np.uint8)
    cv2.circle(image, (30, 40), 12, 200, -1)
    cv2.circle(image, (90, 60), 14, 180, -1)
    return image


def test_segment_finds_the_discs(scene: np.ndarray) -> None:
    labels = nuclei.segment(scene)
    assert labels.dtype == np.int32 and labels.shape == scene.shape
    assert labels.max() == 2 and labels[40, 30] != labels[60, 90] and labels[0, 0] == 0


def test_a_loaded_model_gives_the_same(scene: np.ndarray) -> None:
    assert np.array_equal(nuclei.segment(scene, nuclei.load_model()), nuclei.segment(scene))


def test_read_image_reads_what_was_written(scene: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "scene.png"), scene)
    assert np.array_equal(nuclei.read_image(tmp_path / "scene.png"), scene)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan")])
def test_a_size_of_a_pixel_that_is_none_is_refused(scene: np.ndarray, size: float) -> None:
    with pytest.raises(
        nuclei.UserError, match=r"pixel_size=.* expected the side of a pixel in µm, a number above 0"
    ):
        nuclei.segment(scene, diameter=10, pixel_size=size)
    with pytest.raises(nuclei.UserError, match="pixel_size="):
        nuclei.measure(np.ones((4, 4), np.int32), np.ones((4, 4)), pixel_size=size)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("model", "a.safetensors"), ("diameter", "21"), ("pixel_size", "0.5"), ("invert", "yes")],
)
def test_a_setting_of_another_type_is_refused_in_words(scene: np.ndarray, setting: str, value: str) -> None:
    with pytest.raises(nuclei.UserError, match=f"{setting}='{value}': expected"):
        nuclei.segment(scene, **{setting: value})
    with pytest.raises(nuclei.UserError, match="tta='3': expected"):
        nuclei.load_model(tta="3")


def test_labels_of_another_image_are_not_measured() -> None:
    labels, image = np.ones((4, 4), np.int32), np.arange(32).reshape(4, 8)
    with pytest.raises(ValueError, match=r"the image: expected \(4, 4\), as the labels, got \(4, 8\)"):
        nuclei.measure(labels, image)


@pytest.mark.parametrize("image", [np.zeros((8, 8), complex), np.zeros((8, 8, 4)), np.zeros(8)])
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected an image \(H, W\) or \(H, W, 3\) of real"):
        nuclei.segment(image)


def test_depth_channel_and_size_are_understood(scene: np.ndarray) -> None:
    labels = nuclei.segment(scene)
    assert np.array_equal(nuclei.segment(scene.astype(np.uint16) * 200), labels)
    stack = np.stack([np.zeros_like(scene), scene])
    assert np.array_equal(nuclei.segment(stack, channel=2), labels)
    assert np.array_equal(nuclei.segment(np.moveaxis(stack, 0, -1), channel=2), labels)
    assert nuclei.segment(scene, diameter=13, pixel_size=0.5).max() == 2
    with pytest.raises(nuclei.UserError, match="channel=3: there is no such one"):
        nuclei.segment(stack, channel=3)


def test_measurements_are_those_of_the_image(scene: np.ndarray) -> None:
    labels = nuclei.segment(scene)
    table = nuclei.measure(labels, scene.astype(float) * 10, pixel_size=2.0)
    assert table["mean_intensity"].between(1500, 2000).all()
    assert np.allclose(table["area_um2"], table["area"] * 4)


def test_the_examples_of_the_docs_run(repo: Path) -> None:
    done = doctest.testfile(str(repo / "docs/python.md"), module_relative=False)
    assert done.attempted > 10 and done.failed == 0


def test_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(nuclei.UserError, match=r"none\.png") as caught:
        nuclei.read_image(tmp_path / "none.png")
    assert "\n" not in str(caught.value)
    with pytest.raises(nuclei.UserError, match=r"none\.safetensors"):
        nuclei.load_model(tmp_path / "none.safetensors")


def test_run_length_codes_and_back() -> None:
    labels = np.array([[1, 0, 2], [1, 0, 2], [0, 3, 3]], np.int32)
    assert np.array_equal(nuclei.rle_decode(nuclei.rle_encode(labels), labels.shape), labels)


def test_average_precision_of_one_hit_of_two() -> None:
    annotation = np.array([[1, 1, 0, 2]])
    assert nuclei.average_precision(annotation, annotation) == 1
    assert nuclei.average_precision(annotation, np.array([[1, 1, 0, 0]])) == 0.5


def test_grey_is_the_same_with_one_channel_and_with_three(scene: np.ndarray) -> None:
    dark = 90 - scene // 4
    assert np.array_equal(nuclei.segment(np.dstack([dark] * 3)), nuclei.segment(dark))
    assert np.array_equal(
        nuclei.segment(np.dstack([scene, scene // 2, dark]), channel=np.int64(1)), nuclei.segment(scene)
    )


def test_labels_of_any_number_and_byte_order_are_taken_and_masks_refused() -> None:
    labels = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    for dtype in ("f4", ">u2", ">f8", "i1"):
        other = labels.astype(dtype)
        assert nuclei.rle_encode(other) == nuclei.rle_encode(labels)
        assert nuclei.average_precision(other, labels) == 1
        assert nuclei.measure(other, labels)["area"].tolist() == [4, 2]
    for wrong in (labels > 0, labels + 0.5, labels[0]):
        with pytest.raises(ValueError, match=r"expected labels \(H, W\) of whole numbers"):
            nuclei.average_precision(labels, wrong)


def test_nothing_and_labels_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an image with pixels"):
        nuclei.segment(np.zeros((0, 5), np.uint8))
    with pytest.raises(ValueError, match="expected labels of 0 or more, got -2"):
        nuclei.measure(np.array([[0, -2]]), np.zeros((1, 2)))


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnet'"):
        nuclei.segmnet  # noqa: B018
