"""Downloaded files hold the nuclei that the page shows."""

import io
import json

import numpy as np
import pandas as pd
import tifffile

from nuclei.app.downloads import DOWNLOADS
from nuclei.submission import rle

WRITE = {download.ending: download.write for download in DOWNLOADS}


def test_counts_of_the_legend_are_those_of_the_csv(segmentation):
    table = pd.read_csv(io.BytesIO(WRITE["_nuclei.csv"](segmentation)))
    assert table["class"].value_counts().to_dict() == segmentation.counts
    assert set(segmentation.counts) == {"left", "right"} and min(segmentation.counts.values()) > 20
    assert (table.loc[table.x < 340, "class"] == "left").all()


def test_files_hold_the_label_map(segmentation):
    label_map = tifffile.imread(io.BytesIO(WRITE["_labels.tif"](segmentation)))
    assert label_map.dtype == np.uint16 and np.array_equal(label_map, segmentation.labels)
    rows = pd.read_csv(io.BytesIO(WRITE["_rle.csv"](segmentation)))
    assert set(rows.ImageId) == {"a"}
    decoded = rle.decode(rows.EncodedPixels.tolist(), segmentation.labels.shape)
    assert np.array_equal(decoded, segmentation.labels)
    outlines = json.loads(WRITE[".geojson"](segmentation))["features"]
    assert [f["properties"]["name"] for f in outlines] == [str(n) for n in range(1, len(outlines) + 1)]
    assert len(outlines) == len(rows)


def test_an_image_without_nuclei_can_be_downloaded(empty):
    assert all(write(empty) for write in WRITE.values())
