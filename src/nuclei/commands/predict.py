"""``./run.sh predict``: the nuclei in any images, with the model of the project or an ensemble."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import build_paths, build_segmenter
from nuclei.config import Call
from nuclei.data.image_stacks import Selection
from nuclei.data.preprocessing import ImageHints
from nuclei.errors import UserError
from nuclei.inference.predict_folder import predict_folder
from nuclei.inference.segment_files import FileSettings
from nuclei.submission.csv_files import HEADER


def main(cfg: DictConfig, call: Call) -> None:
    """Read, predict, post-process and write each file, several at a time."""
    if not cfg.input:
        raise UserError("no input; say which image or folder: ./run.sh predict input=FOLDER output=FOLDER")
    if not cfg.output:
        raise UserError("no output; say which folder takes the results: output=FOLDER")
    scale = cfg.pixel_size or 1.0
    settings = FileSettings(
        tuple(cfg.save),
        Selection(cfg.channel, cfg.z, cfg.t),
        ImageHints(cfg.modality, cfg.invert, cfg.diameter and cfg.diameter / scale),
        cfg.pixel_size,
    )
    predict_folder(
        cfg.input,
        Path(cfg.output).expanduser(),
        lambda: build_segmenter(build_paths(cfg), cfg.ensemble, cfg.weights, cfg.tta),
        settings,
        cfg.workers,
        cfg.again,
        HEADER,
    )
