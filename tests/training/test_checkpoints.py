"""Weights that a training starts from, and checkpoints that it resumes from."""

import pytest
import torch
from torch import nn

from nuclei.errors import UserError
from nuclei.training.checkpoints import check_checkpoint, start_from


def network(width: int, last: int) -> nn.Module:
    return nn.Sequential(nn.Linear(99, width), nn.Linear(width, last))


def test_layers_that_fit_are_taken_and_others_begin_anew(capsys):
    old, new = network(4, 2), network(4, 5)
    before = new[1].weight.clone()
    start_from(new, old.state_dict(), "old")
    assert torch.equal(new[0].weight, old[0].weight) and torch.equal(new[1].weight, before)
    assert "2 of 4 tensors from old" in (message := capsys.readouterr().err)
    assert "anew: 1.bias, 1.weight" in message


def test_the_same_network_starts_without_a_word(capsys):
    old, new = network(4, 2), network(4, 2)
    start_from(new, old.state_dict(), "old")
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert not capsys.readouterr().err


def test_a_network_of_which_nothing_fits_is_refused():
    with pytest.raises(UserError, match="old is of another network: 0% of the weights fit"):
        start_from(network(4, 2), network(7, 3).state_dict(), "old")


def test_a_checkpoint_that_is_cut_or_changed_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"weight": torch.zeros(500)}, path)
    check_checkpoint(path)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(UserError, match="is damaged at its directory; delete it to train"):
        check_checkpoint(path)
    at = data.index(bytes(1000)) + 500  # within the tensor
    path.write_bytes(data[:at] + b"x" + data[at + 1 :])
    with pytest.raises(UserError, match=r"is damaged at .*data/0"):
        check_checkpoint(path)
