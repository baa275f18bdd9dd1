"""The name that was most likely meant."""

import pytest

from nuclei.errors import nearest_name

NAMES = [
    "fold",
    "name",
    "batch_size",
    "samples_per_epoch",
    "data.budget.max_epochs",
    "trainer.max_epochs",
    "optimizer.lr",
]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("foldd", "fold"),
        ("batchsize", "batch_size"),
        ("max_epoch", "trainer.max_epochs"),  # its group may be left out
        ("train.max_epochs", "trainer.max_epochs"),
        ("lr", "optimizer.lr"),
        ("epochs", "trainer.max_epochs"),  # of two the one in fewer groups
        ("epoch", "trainer.max_epochs"),  # of two the one of fewer words
        ("batch", "batch_size"),  # a word of it
        ("learning_rate", "optimizer.lr"),  # what it abbreviates
        ("nmae", "name"),
    ],
)
def test_the_nearest_name(typed: str, meant: str) -> None:
    assert nearest_name(typed, NAMES) == meant
