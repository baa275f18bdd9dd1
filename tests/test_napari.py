"""The widget for napari, without a display; these tests skip where napari, or its npe2, is not installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import nuclei
from nuclei.data.preprocessing import MODALITIES
from nuclei.data.sources.demo import draw_fluorescence, draw_nuclei
from nuclei.paths import PACKAGE


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    """A drawn image of fluorescence, ``uint8 (96, 128)``."""
    rng = np.random.default_rng(0)
    image = draw_fluorescence(rng, draw_nuclei(rng, (96, 128), 9, 9.0, touching=0.2))
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 0])


def test_the_manifest_names_a_widget_that_is_there() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(PACKAGE / "napari.yaml")
    (command,), (widget,) = manifest.contributions.commands, manifest.contributions.widgets
    assert widget.command == command.id and widget.autogenerate
    module, _, name = command.python_name.partition(":")
    assert callable(getattr(import_module(module), name))


def test_the_wheel_names_the_manifest(repo: Path) -> None:
    assert '[project.entry-points."napari.manifest"]\nnuclei = "nuclei:napari.yaml"' in (
        repo / "pyproject.toml"
    ).read_text(encoding="utf-8")


def test_a_layer_and_a_stack_get_labels_where_they_lie(grey: np.ndarray) -> None:
    layers = pytest.importorskip("napari.layers")
    from nuclei.api import segment_layer

    expected = nuclei.segment(grey)
    assert expected.max() >= 5
    layer = layers.Image(grey, scale=(0.5, 0.5), translate=(3, 4), name="dapi")
    labels, place, kind = segment_layer(layer)
    assert np.array_equal(labels, expected) and kind == "labels"
    made = layers.Labels(labels, **place)
    assert (*made.scale, *made.translate, made.name) == (0.5, 0.5, 3, 4, "nuclei of dapi")
    labels, _, _ = segment_layer(layers.Image(np.stack([grey, grey[::-1]])))
    assert labels.shape == (2, 96, 128) and np.array_equal(labels[0], expected)
    labels, _, _ = segment_layer(
        layers.Image(np.stack([255 - grey] * 3, axis=2), rgb=True), dark_nuclei="yes"
    )
    assert labels.shape == (96, 128) and labels.max() >= 5


def test_napari_makes_a_form_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari.layers")
    pytest.importorskip("PySide6")
    from magicgui import magicgui

    from nuclei.api import segment_layer

    form = magicgui(segment_layer)
    assert [field.name for field in form] == ["image", "diameter", "modality", "dark_nuclei", "call_button"]
    assert form.modality.choices == ("as it looks", *MODALITIES)
