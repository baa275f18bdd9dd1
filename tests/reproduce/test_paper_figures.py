"""The figures of a paper's page."""

import cv2
import numpy as np
import pytest

from nuclei.reproduce import paper_figures


@pytest.mark.parametrize("classes", [[], ["background", "small", "round"]])
@pytest.mark.parametrize("channels", [1, 3])
def test_examples_show_image_truth_and_prediction(tmp_path, classes, channels):
    image = np.random.default_rng(0).integers(0, 99, (40, 60, 3)[: 2 + channels // 3], dtype=np.uint8)
    truth = np.zeros((40, 60), np.int32)
    truth[5:15, 5:15], truth[20:30, 30:50] = 1, 2
    paper_figures.draw_examples(tmp_path / "x.jpg", [(image, truth, np.zeros_like(truth))] * 2, classes)
    sheet = cv2.imread(str(tmp_path / "x.jpg")).astype(int)
    rest = sheet.shape[0] - 2 * (40 * paper_figures.WIDTH // 60 + paper_figures.TITLE_HEIGHT + 6)
    assert sheet.shape[1] == 3 * (paper_figures.WIDTH + 6) and (rest > 0) == bool(classes)
    saturation = sheet.max(2) - sheet.min(2)
    if (
        channels == 1
    ):  # colour stands where nuclei are drawn: in the truth, not in the image or the empty prediction
        image, truth, predicted = (
            saturation[: paper_figures.WIDTH // 2, n * 326 : n * 326 + 320] for n in range(3)
        )
        assert truth.max() > 60 and max(image.max(), predicted.max()) < 40


def test_losses_that_vary_much_are_drawn_on_a_logarithmic_axis(tmp_path):
    for name, first in (("tame", 2), ("wild", 2e6)):
        (tmp_path / f"{name}.csv").write_text(
            f"epoch,loss,val_loss,val_accuracy,val_iou\n0,1,{first},0.5,0.1\n1,0.5,0.6,0.8,0.3\n"
        )
    paper_figures.draw_curves(
        tmp_path / "x.png", {name: tmp_path / f"{name}.csv" for name in ("tame", "wild")}
    )
    assert cv2.imread(str(tmp_path / "x.png")).shape[2] == 3


def test_a_confusion_of_classes_is_drawn(tmp_path):
    confusion = np.array([[8, 2], [0, 0]])
    paper_figures.draw_confusion(tmp_path / "x.png", "U-Net", confusion, ["background", "round"])
    assert cv2.imread(str(tmp_path / "x.png")).std() > 10
