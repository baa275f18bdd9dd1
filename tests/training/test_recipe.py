"""The smaller recipe is chosen without a GPU; what the user chose stays."""

from __future__ import annotations

import pytest

from nuclei.errors import UserError
from nuclei.training import recipe


@pytest.mark.parametrize(
    ("setting", "has_small", "gpu", "expected"),
    [
        ("auto", True, False, "small: no GPU"),
        ("auto", True, True, "full"),
        ("auto", False, False, "full"),
        ("full", True, False, "full"),
        ("small", True, True, "small"),
        ("small: no GPU", True, True, "small: no GPU"),
    ],
)
def test_the_recipe_is_small_without_a_gpu(setting: str, has_small: bool, gpu: bool, expected: str) -> None:
    assert recipe.choose_recipe(setting, has_small, gpu) == expected


def test_chosen_settings_stay() -> None:
    small = {"model": "unet", "batch_size": 8, "samples_per_epoch": 512, "max_epochs": 9}
    assert recipe.small_settings(small, {"batch_size", "model"}) == {
        "samples_per_epoch": 512,
        "trainer.max_epochs": 9,
    }


def test_a_gpu_is_known_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(recipe, "GPU_DEVICES", ("/nowhere",))
    assert not recipe.has_gpu()
    monkeypatch.setattr(recipe, "GPU_DEVICES", ("/nowhere", "/dev/null"))
    assert recipe.has_gpu()


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="recipe=smal: expected full, small or auto"):
        recipe.choose_recipe("smal", has_small=True, gpu=False)
