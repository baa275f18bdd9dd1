"""The LinkNet of Arra et al."""

import torch

from nuclei.models.linknet import Decoder, Encoder


def test_number_of_weights(build):
    network, _ = build("arra2018_linknet")
    assert sum(p.numel() for p in network.parameters()) == 539_505  # the text's filters allow no fewer


def test_an_encoder_halves_and_a_decoder_doubles():
    x = torch.rand(2, 3, 8, 12)
    assert Encoder(3, 5)(x).shape == (2, 5, 4, 6)
    assert Decoder(3, 5, dropout=0.1)(x).shape == (2, 5, 16, 24)
