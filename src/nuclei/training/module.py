"""The thin Lightning module: a step, a schedule, and the competition's metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from nuclei.errors import UserError
from nuclei.inference.predict_maps import has_bf16, predict
from nuclei.metrics import average_precision

PostProcess = Callable[[np.ndarray], np.ndarray]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Segmentation(L.LightningModule):
    """Trains a network on crops and validates it on whole images.

    Args:
        network: image to logits.
        loss: of logits and targets.
        optimizer: from parameters to an optimizer.
        schedule: of the learning rate, ``cosine`` down to zero or ``constant``.
        warmup: share of all steps in which the learning rate rises linearly.
        postprocess: maps to label map, for validation.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: str,
        warmup: float,
        postprocess: PostProcess,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.loss, self.optimizer, self.schedule, self.warmup = loss, optimizer, schedule, warmup
        self.postprocess = postprocess

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """The loss of one batch of crops."""
        loss = self.loss_of(batch)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return loss

    def loss_of(self, batch: Batch) -> torch.Tensor:
        """Scalar loss; a network of objects has one of its own."""
        image, target, labels = batch
        x = (image.float() / 255).contiguous(memory_format=torch.channels_last)
        own = getattr(self.network, "loss", None)
        return own(x, labels) if own else self.loss(self.network(x), target)  # type: ignore[no-any-return]

    @torch.no_grad()
    def mean_loss(self, batches: Iterable[Batch]) -> float:
        """The mean loss of batches that are not trained on; NaN where a network has one in training only."""
        if hasattr(self.network, "loss"):
            return math.nan
        training = self.training
        self.eval()
        with self.trainer.precision_plugin.forward_context():
            losses = [float(self.loss_of(tuple(t.to(self.device) for t in batch))) for batch in batches]  # type: ignore[arg-type]
        self.train(training)
        return float(np.mean(losses))

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """mAP of one whole image."""
        maps = predict(self.network, batch["image"], bf16=has_bf16())
        self.log(
            "mAP", average_precision(batch["labels"], self.postprocess(maps)), batch_size=1, sync_dist=True
        )

    def configure_optimizers(self) -> Any:
        """Linear warm-up, then the schedule, step by step."""
        optimizer = self.optimizer(self.network.parameters())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda n: factor(self.schedule, n, total, self.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def factor(schedule: str, step: int, total: int, warmup: float) -> float:
    """Factor of the learning rate at ``step`` of ``total``.

    Raises:
        UserError: there is no such schedule.
    """
    if schedule not in ("cosine", "constant"):
        raise UserError(f"schedule={schedule}: expected cosine or constant")
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
