"""``./run.sh predict``: the nuclei in any images, with the model of the project or an ensemble."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import build_paths
from nuclei.config import Call
from nuclei.data.image_stacks import PlaneSelection
from nuclei.data.preprocessing import ImageHints
from nuclei.errors import UserError
from nuclei.inference.predict_folder import choose_engine, predict_folder
from nuclei.inference.segment_files import FileSettings
from nuclei.model_loading import build_segmenter
from nuclei.submission.rules import HEADER


def main(cfg: DictConfig, call: Call) -> None:
    """Read, predict, post-process and write each file, several at a time, here or on a cluster."""
    if not cfg.input:
        raise UserError("no input; say which image or folder: ./run.sh predict input=FOLDER output=FOLDER")
    if not cfg.output:
        raise UserError("no output; say which folder takes the results: output=FOLDER")
    settings = FileSettings(
        tuple(cfg.save),
        PlaneSelection(cfg.channel, cfg.z, cfg.t),
        ImageHints.with_pixel_size(cfg.modality, cfg.invert, cfg.diameter, cfg.pixel_size),
        cfg.pixel_size,
        cfg.tile,
    )
    predict_folder(
        cfg.input,
        Path(cfg.output).expanduser(),
        partial(build_segmenter, build_paths(cfg), cfg.ensemble, cfg.weights, cfg.tta, {**cfg.thresholds}),
        settings,
        cfg.workers,
        cfg.again,
        HEADER,
        choose_engine(cfg.engine, cfg.ray.address, cfg.ray.num_gpus),
    )
