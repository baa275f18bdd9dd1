"""The thin Lightning module: a step, a schedule, and the competition's metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from nuclei.inference.maps import has_bf16, predict
from nuclei.metrics import average_precision

PostProcess = Callable[[np.ndarray], np.ndarray]


class Segmentation(L.LightningModule):
    """Trains a network on crops and validates it on whole images.

    Args:
        network: image to logits.
        loss: of logits and targets.
        optimizer: from parameters to an optimizer.
        warmup: share of all steps in which the learning rate rises linearly.
        postprocess: maps to label map, for validation.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        warmup: float,
        postprocess: PostProcess,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.loss, self.optimizer, self.warmup = loss, optimizer, warmup
        self.postprocess = postprocess

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """The loss of one batch of crops; a network of objects has one of its own."""
        image, target, labels = batch
        x = (image.float() / 255).contiguous(memory_format=torch.channels_last)
        own = getattr(self.network, "loss", None)
        loss = own(x, labels) if own else self.loss(self.network(x), target)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(x))
        return loss

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """mAP of one whole image."""
        maps = predict(self.network, batch["image"], bf16=has_bf16())
        self.log(
            "mAP", average_precision(batch["labels"], self.postprocess(maps)), batch_size=1, sync_dist=True
        )

    def configure_optimizers(self) -> Any:
        """Linear warm-up, then a cosine down to zero, step by step."""
        optimizer = self.optimizer(self.network.parameters())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda n: warmup_cosine(n, total, self.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Factor of the learning rate at ``step`` of ``total``."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
