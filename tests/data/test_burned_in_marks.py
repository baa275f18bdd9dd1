"""Scale bars and captions are painted out, whatever their format; nuclei are not."""

import cv2
import numpy as np
import pytest

from nuclei.data.burned_in_marks import Marks, find_marks, is_note, paint_out


def paint_out_marks(image: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    marks = find_marks(image)
    return paint_out(image, marks.mask), marks.notes


def nuclei(brightest: int = 120) -> np.ndarray:
    """Return 14 discs with a blurred edge and some noise, ``uint8 (160, 240)``."""
    rng = np.random.default_rng(0)
    image = np.full((160, 240), 12, np.float32)
    for y in range(20, 110, 32):
        for x in range(20, 230, 44):
            cv2.circle(image, (x, y), 9, float(rng.uniform(0.6, 1) * brightest), cv2.FILLED)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.1) + rng.normal(0, 3, image.shape), 0, 255).astype(
        np.uint8
    )


def written(image: np.ndarray, text: str = "50 um", font: int = cv2.FONT_HERSHEY_SIMPLEX, **options: int):
    """Return an image with a caption and a bar below it."""
    marked = image.copy()
    colour = (255,) * (1 if image.ndim == 2 else 3)
    cv2.putText(marked, text, (150, 142), font, 0.7, colour, **options)
    cv2.rectangle(marked, (150, 150), (210, 153), colour, cv2.FILLED)
    return marked


@pytest.mark.parametrize("brightest", [50, 120, 200])
@pytest.mark.parametrize("thickness", [1, 2])
@pytest.mark.parametrize("line", [cv2.LINE_8, cv2.LINE_AA])
def test_bars_and_captions_are_painted_out(brightest: int, thickness: int, line: int) -> None:
    image = nuclei(brightest)
    painted, notes = paint_out_marks(written(image, thickness=thickness, lineType=line))
    assert notes == ("1 scale bar left out", "1 caption left out")
    assert painted[125:].max() < 60 and np.array_equal(painted[:118], image[:118])


def test_those_in_colour_in_jpeg_and_black_ones_are_too() -> None:
    image = nuclei()
    blue = image[..., None] * np.array([0, 0, 1], np.uint8)
    assert paint_out_marks(written(blue, thickness=2))[0][125:].max() < 60
    jpeg = cv2.imencode(".jpg", written(image, thickness=2), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    assert paint_out_marks(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE))[0][125:].max() < 60
    light = 255 - written(image, thickness=2)
    assert paint_out_marks(light)[0][125:].min() > 195


def test_a_frame_an_outline_and_an_arrow_are_painted_out() -> None:
    image = nuclei()
    for draw in (
        lambda a: cv2.rectangle(a, (0, 0), (239, 159), 255, 2),
        lambda a: cv2.rectangle(a, (40, 30), (150, 100), 255, 1),
        lambda a: cv2.arrowedLine(a, (180, 150), (230, 125), 255, 2, tipLength=0.3),
    ):
        marked = image.copy()
        draw(marked)
        painted, notes = paint_out_marks(marked)
        assert notes == ("1 drawn line left out",) and painted.max() < 150


@pytest.mark.parametrize("ground, ink", [(255, 0), (0, 255), (128, 255)])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_strip_with_text_and_a_margin_become_ground(ground: int, ink: int, ending: str) -> None:
    image = nuclei()
    strip = np.full((30, 240), ground, np.uint8)
    cv2.putText(strip, "DAPI  20x  50 um", (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
    below, around = np.vstack([image, strip]), np.pad(image, 25, constant_values=255)
    for marked, n, inside in ((below, 1, np.s_[:155]), (around, 4, np.s_[30:180, 30:260])):
        code = cv2.imencode(ending, marked, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        decoded = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
        painted, notes = paint_out_marks(decoded)
        assert notes == (f"{n} margin{'s' * (n > 1)} left out",)
        assert np.array_equal(painted[inside], decoded[inside])
        rest = np.ones(marked.shape, bool)
        rest[inside] = False
        assert painted[rest].max() < 60


def test_the_black_surroundings_of_a_bright_image_become_ground() -> None:
    rows, columns = np.mgrid[:160, :240]
    field = np.hypot(rows - 80, columns - 120) < 100
    for image in (255 - nuclei(), np.repeat((255 - nuclei())[..., None], 3, 2)):
        round_field = image.copy()
        round_field[~field] = 0
        painted, notes = paint_out_marks(round_field)
        assert notes == ("1 margin left out",) and painted[~field].min() > 200
        assert np.array_equal(painted[70:90, 60:180], image[70:90, 60:180])


@pytest.mark.parametrize("angle", [8, 45])
def test_the_white_corners_around_a_rotated_picture_become_ground(angle: int) -> None:
    matrix = cv2.getRotationMatrix2D((120, 80), angle, 1)
    matrix[:, 2] += (30, 70)
    image = cv2.warpAffine(nuclei(), matrix, (300, 300), borderValue=255)
    inside = cv2.warpAffine(np.ones((160, 240), np.uint8), matrix, (300, 300))
    painted, notes = paint_out_marks(image)
    assert notes == ("1 margin left out",) and painted[inside == 0].max() < 60
    core = cv2.erode(inside, np.ones((9, 9), np.uint8), borderValue=0) == 1
    assert np.array_equal(painted[core], image[core])


def test_a_dark_disc_on_white_is_no_rotated_picture() -> None:
    disc = cv2.circle(np.full((200, 200), 255, np.uint8), (100, 100), 80, 90, cv2.FILLED)
    assert find_marks(cv2.GaussianBlur(disc, (0, 0), 1)).margins == 0


@pytest.mark.parametrize("width", [6, 14, 30])
def test_white_gaps_between_the_pictures_of_a_montage_become_ground(width: int) -> None:
    image = nuclei()
    across = np.full((160, width), 255, np.uint8)
    row = np.hstack([image, across, image[::-1]])
    montage = np.vstack([row, np.full((width, row.shape[1]), 255, np.uint8), row])
    painted, notes = paint_out_marks(montage)
    assert notes == ("2 margins left out",) and painted.max() < 150
    assert np.array_equal(painted[:155, :235], image[:155, :235])


def test_a_clipped_ground_is_no_margin() -> None:
    image = nuclei()
    clipped = np.where(image < 40, 0, image).astype(np.uint8)  # of one value up to the first nuclei
    confluent = cv2.dilate(clipped, np.ones((9, 9), np.uint8)) * 2
    for other in (clipped, 255 - clipped, confluent, np.where(image > 60, 255, image).astype(np.uint8)):
        assert find_marks(other).margins == 0


def test_nuclei_are_no_marks() -> None:
    image = nuclei(250)
    saturated = np.where(image > 60, 255, image).astype(np.uint8)
    mask = np.where(image > 60, 255, 0).astype(np.uint8)
    rods = np.zeros((120, 200), np.float32)
    for x in range(20, 190, 12):
        cv2.ellipse(rods, (x, 60), (3, 14), 0, 0, 360, 255.0, cv2.FILLED)
    noise = np.random.default_rng(0).integers(0, 256, (160, 240), dtype=np.uint8)
    flat, empty = np.full_like(image, 255), image[:0]
    for other in (image, saturated, mask, 255 - saturated, rods.astype(np.uint8), noise, flat, empty):
        assert paint_out_marks(other)[0] is other


def test_the_notes_on_marks_are_told_from_others() -> None:
    mask = np.zeros((1, 1), np.uint8)
    notes = [*Marks(mask, 1, 1, 1, 1).notes, *Marks(mask, 2, 3, 4, 5).notes]
    assert len(notes) == 8 and all(map(is_note, notes))
    assert not is_note("4 smaller copies or pictures of the slide left out")
