"""``./run.sh app``: a local web page on which one drops an image and sees its nuclei."""

from __future__ import annotations

from omegaconf import DictConfig

from nuclei.app.serve import private_folder, serve
from nuclei.app.session import Limits
from nuclei.build import build_paths
from nuclei.config import Call
from nuclei.model_loading import build_segmenter


def main(cfg: DictConfig, call: Call) -> None:
    """Load the model, build the page, serve it until Ctrl-C."""
    with private_folder():
        from nuclei.app.page import Page, Slider

        model = build_segmenter(build_paths(cfg), cfg.ensemble, cfg.weights, cfg.tta)
        sliders = {name: Slider(**slider) for name, slider in cfg.sliders.items()}
        serve(Page(model, Limits(**cfg.limits), sliders), cfg.host, cfg.port)
