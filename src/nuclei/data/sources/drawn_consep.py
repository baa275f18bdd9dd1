"""Drawn pictures in CoNSeP's layout and file format, for the road that CoNSeP itself would go."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat
from skimage.measure import regionprops

from nuclei.atomic import atomic_folder
from nuclei.data.sources.consep import Consep
from nuclei.data.sources.demo import NucleusKind, draw_tissue
from nuclei.progress import track

SIDE, NUCLEI = 1000, 900
"""Side of a picture in pixels, and the number of nuclei to place in it."""

KINDS = (
    NucleusKind(9, (0.5, 0.8), 1.6),  # other
    NucleusKind(7, (0.85, 1.0), 1.3),  # inflammatory
    NucleusKind(11, (0.5, 0.65), 0.9, aligned=True),  # healthy epithelial
    NucleusKind(15, (0.65, 0.9), 0.7),  # malignant epithelial
    NucleusKind(10, (0.25, 0.4), 1.0),  # fibroblast
    NucleusKind(12, (0.15, 0.25), 0.8, aligned=True),  # muscle
    NucleusKind(8, (0.3, 0.45), 1.3),  # endothelial
)
"""The seven classes, told apart by size, shape, density and direction."""


class DrawnConsep(Consep):
    """CoNSeP's layout, with files that are drawn when they are first needed; see ``draw_consep``.

    CoNSeP has 27 pictures below ``Train``, here ``n_train``, and 14 below ``Test``.
    """

    def __init__(self, root: str | Path, seed: int, n_train: int, n_test: int) -> None:
        super().__init__(root)
        self.seed, self.n_train, self.n_test = seed, n_train, n_test

    def fetch(self) -> None:
        if not self.root.exists():
            draw_consep(self.root, self.seed, {"Train": self.n_train, "Test": self.n_test})


def draw_consep(root: Path, seed: int, counts: dict[str, int]) -> None:
    """Draw ``counts`` pictures by ``Train`` and ``Test`` and their label files, all or nothing.

    The folder must not exist yet; the same seed gives the same pixels.

    Raises:
        UserError: the folder cannot be written.
    """
    jobs = [(name, n) for name, count in counts.items() for n in range(1, count + 1)]
    with atomic_folder(root, "data.root=FOLDER") as part:
        for name, n in track(jobs, "draw pictures of tissue"):
            _write(part / name, f"{name.lower()}_{n}", np.random.default_rng((seed, name == "Test", n)))


def _write(folder: Path, name: str, rng: np.random.Generator) -> None:
    """Write one picture and its label file, float64 arrays as HoVer-Net's authors save them."""
    labels, classes, picture = draw_tissue(rng, (SIDE, SIDE), KINDS, NUCLEI)
    centroids = np.array([region.centroid[::-1] for region in regionprops(labels)])
    for kind in ("Images", "Labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    (folder / "Images" / f"{name}.png").write_bytes(encoded.tobytes())
    arrays = {
        "inst_map": labels.astype(float),
        "type_map": classes[labels].astype(float),
        "inst_type": classes[1:, None].astype(float),
        "inst_centroid": centroids,
    }
    savemat(folder / "Labels" / f"{name}.mat", arrays, do_compression=True)
