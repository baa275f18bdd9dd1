"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import numpy as np

    from nuclei.ensemble.oof import Case

# Several workers share the cores, so that none of them, nor what they start, takes more than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no defect, so an example may take any time.
settings.register_profile("nuclei", deadline=None)
settings.load_profile("nuclei")


@pytest.fixture(autouse=True)
def _determinism_ends_with_its_test() -> Iterator[None]:
    """Lightning's Trainer makes the whole process deterministic; the next test shall not notice."""
    yield
    if torch := sys.modules.get("torch"):
        torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def draw_runs() -> Callable[[Path], Path]:
    """Return what makes, in a folder, a store of eight images, two folds, and three runs.

    Each image has two touching discs and one apart, elsewhere in each. Two runs have three maps, as a network
    would see the discs, more and less sharply; the third has the nucleus map alone, and its
    post-processing merges touching discs.
    """
    import cv2  # here, so that OMP_NUM_THREADS is set before
    import numpy as np

    from nuclei.atomic import write_json
    from nuclei.data.folds import FoldRow, folds_sha256, write_folds
    from nuclei.data.store import Store, StoreRow, encode_image, encode_labels, write_store

    def truth_of(n: int) -> np.ndarray:
        labels = np.zeros((32, 36), np.int32)
        for label, x in ((1, 8), (2, 17), (3, 29)):
            cv2.circle(labels, (x, 8 + n), 4, label, -1)
        return labels

    def maps_of(labels: np.ndarray, sharpness: float) -> np.ndarray:
        middle = cv2.distanceTransform((labels > 0).astype(np.uint8), cv2.DIST_L2, 5) / 4
        grown = cv2.dilate(labels.astype(np.uint8), np.ones((3, 3)))
        maps = np.stack([labels > 0, (labels > 0) & (grown != labels), np.minimum(middle, 1)])
        return np.rint(maps * 255 * sharpness).astype(np.uint8)

    watershed = {"_target_": "nuclei.postprocess.watershed.MapWatershed", "low": 0.3, "high": 0.5}
    watershed |= {"border_weight": 1.0, "distance_weight": 1.0, "marker_threshold": 0.6, "sigma": 0.0}
    components = {"_target_": "nuclei.postprocess.components.Components", "low": 0.5, "high": 0.5}
    steps = {1: [components], 3: [watershed]}
    log = "epoch,step,seconds,lr,loss,mAP\n0,1,1,0.1,2.5,\n1,2,2,0,1.5,0.4\n"

    def draw(place: Path) -> Path:
        ids = [f"image{n}" for n in range(8)]
        modality = ["histology"] * 4 + ["fluorescence"] * 4
        stored = [StoreRow(i, "train", 32, 36, 1, 3, modality[n], i) for n, i in enumerate(ids)]
        rows = [FoldRow(i, n % 2, n, modality[n], 32, 36, 3) for n, i in enumerate(ids)]
        labels = [truth_of(n) for n in range(8)]
        parts = [(encode_image(a.astype(np.uint8)), encode_labels(a)) for a in labels]
        write_store(place / "x.store", [(row, *part) for row, part in zip(stored, parts, strict=True)])
        write_folds(place / "folds.csv", rows)
        sha256 = np.array(folds_sha256(place / "folds.csv"))
        for model, sharpness, c in (("unet", 1.0, 3), ("linknet", 0.7, 3), ("otsu", 1.0, 1)):
            for fold in (0, 1):
                folder = place / "runs" / "demo" / model / "default" / f"fold{fold}"
                folder.mkdir(parents=True)
                maps = {ids[n]: maps_of(labels[n], sharpness)[:c] for n in range(8) if n % 2 == fold}
                channels = ["nucleus", "border", "distance"][:c]
                config = {"model": {"channels": channels, "network": {}}, "postprocess": {"steps": steps[c]}}
                config |= {"folds_sha256": str(sha256), "samples_per_epoch": 8, "trainer": {"max_epochs": 2}}
                write_json(folder / "config.json", config)
                if c > 1:
                    (folder / "metrics.csv").write_text(log)
                hashes = {"folds_sha256": sha256, "store_sha256": np.array(Store(place / "x.store").sha256)}
                np.savez_compressed(folder / "oof.npz", channels=channels, **hashes, **maps)
        return place

    return draw


@pytest.fixture(scope="session")
def disc_cases() -> list[Case]:
    """Return twelve images of touching discs with their maps, for the second stage.

    The maps also have weak stains that are no nuclei, and each image needs a marker threshold of its own.
    """
    import cv2
    import numpy as np

    from nuclei.ensemble.oof import Case

    def drawn(seed: int) -> Case:
        rng = np.random.default_rng(seed)
        truth, maps = np.zeros((64, 80), np.int32), np.zeros((3, 64, 80), np.float32)
        level = rng.uniform(0.3, 0.7)
        for n in range(12):
            y, x = 8 + 16 * (n // 4), 8 + 15 * (n % 4) + int(rng.integers(0, 3))
            if n % 5 == 4:
                cv2.circle(maps[0], (x, y), 5, 0.65, -1)
                continue
            cv2.circle(truth, (x, y), 7, n + 1, -1)
            inside = truth == n + 1
            middle = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / 7
            maps[0][inside], maps[2][inside] = 0.95, (middle * level * 1.9)[inside]
            maps[1][inside] = (middle < 0.3)[inside] * 0.8
        maps += rng.normal(0, 0.04, maps.shape)
        return Case(
            np.rint(np.clip(maps, 0, 1) * 255).astype(np.uint8)[None],
            np.unique(truth, return_inverse=True)[1].reshape(64, 80),
        )

    return [drawn(seed) for seed in range(12)]


@pytest.fixture
def write_ome_set() -> Callable[[Path, dict[str, np.ndarray]], None]:
    """Return what writes OME-TIFF files of one channel each, uint16 (H, W) by name; each file names all."""

    import tifffile

    def write(folder: Path, planes: dict[str, np.ndarray]) -> None:
        ids = [f"urn:uuid:{uuid4()}" for _ in planes]
        height, width = next(iter(planes.values())).shape
        channels = places = ""
        for c, name in enumerate(planes):
            channels += f'<Channel ID="Channel:0:{c}" Name="{name}" SamplesPerPixel="1"/>'
            file = f'<UUID FileName="a_C{c}.ome.tif">{ids[c]}</UUID>'
            places += f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1">{file}</TiffData>'
        for c, plane in enumerate(planes.values()):
            xml = (
                '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
                f'UUID="{ids[c]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
                f'Type="uint16" SizeX="{width}" SizeY="{height}" SizeC="{len(planes)}" SizeZ="1" SizeT="1" '
                f'PhysicalSizeX="0.5" PhysicalSizeY="1">{channels}{places}</Pixels></Image></OME>'
            )
            tifffile.imwrite(folder / f"a_C{c}.ome.tif", plane, description=xml.encode(), metadata=None)

    return write
