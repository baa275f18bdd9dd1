"""The points of the report's figures."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nuclei.analysis import figures, tables
from nuclei.analysis.error_types import find_errors
from nuclei.analysis.figures import COLOURS, best_and_worst, draw, window_around
from nuclei.analysis.image_analysis import Findings, Subject
from nuclei.ensemble.oof import Member

LOG = "epoch,step,seconds,lr,loss,mAP\n0,1,1,0.1,2.5,\n1,2,2,0,1.5,{}\n"


def test_the_costliest_error_has_the_longest_bar_at_the_top(findings: list[Findings]) -> None:
    (bar,) = figures.error_costs(tables.error_costs(findings, [0, 1, 2, 3])).data
    assert bar.y[-1] == "merge" and bar.x[-1] == pytest.approx(0.2)


def test_the_first_curve_has_an_interval_around_it(findings: list[Findings]) -> None:
    precision = np.stack([f.precision for f in findings])
    band, first, second = figures.precision_by_threshold({"a": precision, "b": precision / 2}, range(4)).data
    assert first.x[0] == 0.5 and first.y[0] == pytest.approx(0.25) == 2 * second.y[0]
    assert min(band.y) < 0.25 < max(band.y)


def test_every_group_has_a_point_with_its_interval(findings: list[Findings]) -> None:
    precision = np.stack([f.precision for f in findings])
    table = tables.group_scores(
        "Fold (of two)", ["fold 0", "fold 0", "fold 1", "fold 1"], precision, range(4)
    )
    (points,) = figures.group_scores([table]).data
    assert points.name == "Fold" and list(points.x) == pytest.approx([0.15, 0.35])
    assert points.error_x.array[0] == pytest.approx(0.05)


def test_bins_of_few_nuclei_are_left_out(findings: list[Findings]) -> None:
    bar, *shares = figures.recall_by_diameter(findings, width=1).data
    assert list(bar.x) == [11.5, 12.5, 13.5, 14.5] and list(bar.y) == [20] * 4
    assert [share.y[0] for share in shares] == [0.5, 0.25, 0.1]
    findings[0].diameters[:11] = 50.5
    assert list(figures.recall_by_diameter(findings, width=1).data[0].x) == [12.5, 13.5, 14.5, 50.5]


def test_correlations_of_each_pair() -> None:
    rising = np.array([0.1, 0.2, 0.4])
    (heat,) = figures.correlations({"a": rising, "b": 1 - rising}).data
    np.testing.assert_allclose(np.array(heat.z, float), [[1, -1], [-1, 1]])


def test_the_first_subject_is_on_the_vertical_axis() -> None:
    plot = figures.paired_scores(["a", "b"], [np.array([0.9]), np.array([0.1])], ["image"])
    assert plot.layout.yaxis.title.text == "mAP of a" and plot.data[1].y[0] == 0.9


def test_the_calibration_curve_of_a_perfect_map_lies_on_the_diagonal() -> None:
    counts = np.zeros((1, 256, 2))
    counts[0, 0], counts[0, 255] = (10, 0), (10, 10)
    _, curve = figures.calibration(counts, ["nucleus"]).data
    assert list(curve.x) == list(curve.y) == [0, 1]


def test_runs_have_one_colour_and_one_entry_in_the_legend(tmp_path: Path) -> None:
    files = {}
    for fold in ("fold0", "fold1"):
        (tmp_path / "unet" / fold).mkdir(parents=True)
        (tmp_path / "unet" / fold / "metrics.csv").write_text(LOG.format(0.4))
        files[fold] = tmp_path / "unet" / fold / "oof.npz"
    trained = Member("unet/a", ("nucleus",), files, {})
    otsu = Member("otsu/a", ("nucleus",), {"x": tmp_path / "otsu" / "fold0" / "oof.npz"}, {})
    logs = figures.training_logs([Subject("both", (trained, otsu), (0.5, 0.5), ("nucleus",), ())])
    assert list(logs["unet/a"]) == ["fold0", "fold1"] and logs["otsu/a"] == {}
    lines = figures.training_curves({"unet/a": logs["unet/a"]}).data
    assert [line.showlegend for line in lines] == [True, False, False, False]
    assert len({line.line.color for line in lines}) == 1
    assert list(lines[0].y) == [2.5, 1.5] and list(lines[1].x) == [1] and list(lines[1].y) == [0.4]


def test_an_unmeasured_score_has_no_panel(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(LOG.format(""))
    assert len(figures.training_curves({"unet/a": {"fold0": tmp_path / "metrics.csv"}}).data) == 1


def pixels(uri: str) -> np.ndarray:
    """Decode a layer."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA"))


def test_errors_are_drawn_in_their_colours() -> None:
    truth, prediction = np.zeros((2, 40, 60), np.int32)
    truth[5:15, 5:15], truth[25:35, 5:15] = 1, 2
    prediction[5:15, 5:15], prediction[5:15, 40:50] = 1, 2
    image = np.random.default_rng(0).integers(0, 9, (40, 60)).astype(np.uint8)
    drawn = draw(image, truth, prediction, find_errors(truth, prediction), side=120)
    assert (drawn.width, drawn.height) == (120, 80)
    rgb = {kind: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for kind, colour in COLOURS.items()}
    layer = pixels(drawn.prediction)
    assert tuple(layer[10, 10]) == (*rgb["match"], 255) and tuple(layer[10, 80]) == (*rgb["false find"], 255)
    assert layer[20, 20, 3] == 0 and layer[60, 20, 3] == 0
    assert tuple(pixels(drawn.truth)[50, 10]) == (*rgb["miss"], 255)
    assert pixels(drawn.image)[..., 0].max() > 200, "the contrast is stretched"


def test_a_window_at_the_edge_stays_inside() -> None:
    labels = np.zeros((100, 200), np.int32)
    windows = [window_around(y, x, labels.shape, 64) for y, x in ((0, 0), (99, 199), (50, 100))]
    assert [labels[window].shape for window in windows] == [(64, 64)] * 3
    assert labels[window_around(50, 50, labels.shape, 300)].shape == (100, 200)


def test_no_image_is_among_both_the_best_and_the_worst(findings: list[Findings]) -> None:
    best, worst = best_and_worst(findings[:3], 4)
    assert [f.image_id for f in best] == ["image3"]
    assert [f.image_id for f in worst] == ["image1", "image2"]
    crowded = replace(findings[0], image_id="crowded", nuclei=(300, 1))
    assert best_and_worst([*findings, crowded], 1)[1] == [crowded]
