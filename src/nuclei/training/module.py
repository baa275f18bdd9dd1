"""The Lightning module: a training step, a schedule, and the competition's metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import nn

from nuclei.errors import UserError
from nuclei.inference.predict_maps import predict
from nuclei.metrics import accuracy, average_precision, pixel_confusion, pixel_scores
from nuclei.models.base import Activation, SegmentationNetwork

PostProcess = Callable[[np.ndarray], np.ndarray]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images ``uint8 (B, 1 or 3, S, S)``, targets ``float32 (B, C, S, S)``, labels ``int32 (B, S, S)``."""
WholeImage = Mapping[str, np.ndarray]
"""An ``image`` after the network's preprocessing and its ``labels``."""


class CropScores(NamedTuple):
    """Scores of crops that are not trained on.

    Attributes:
        loss: mean over batches; NaN for networks with a loss of their own, which they give in training only.
        accuracy: share of pixels whose class is right.
        iou: IoU of nucleus pixels, or the mean over the classes other than background; NaN where none is.
    """

    loss: float
    accuracy: float
    iou: float


class Segmentation(L.LightningModule):
    """Trains a network on crops and validates it on whole images.

    Args:
        loss: of logits and targets; see ``nuclei.training.losses``.
        optimizer: makes an optimizer of parameters.
        schedule: of the learning rate, ``cosine`` down to zero or ``constant``.
        warmup: share of all steps in which the learning rate rises linearly.
        postprocess: makes a label map of maps, for validation.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
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
        """Return the loss of one batch of crops."""
        loss = self.batch_loss(batch)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)
        return loss

    def batch_loss(self, batch: Batch) -> torch.Tensor:
        """Return the scalar loss of a batch."""
        images, targets, labels = batch
        return self.network.training_loss(self.scale(images), targets, labels, self.loss)

    def scale(self, images: torch.Tensor) -> torch.Tensor:
        """Return images ``uint8 (B, C, H, W)`` as the network takes them, float32 in [0, 1]."""
        return (images.to(self.device).float() / 255).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def held_out_scores(self, batches: Iterable[Batch]) -> CropScores:
        """Return the scores of batches that are not trained on, in evaluation mode."""
        training = self.training
        self.eval()
        losses, confusions = [], []
        with self.trainer.precision_plugin.forward_context():
            for images, targets, labels in batches:
                batch = (images.to(self.device), targets.to(self.device), labels)
                losses.append(math.nan if self.network.has_own_loss else float(self.batch_loss(batch)))
                maps = self.network.predict_maps(self.scale(images))
                truth = batch[1][:, : maps.shape[1]]
                confusions.append(class_confusion(truth, maps, self.network.activation))
        self.train(training)
        confusion = np.sum(confusions, axis=0)
        iou = pixel_scores(confusion)["IoU"][1:]
        mean_iou = math.nan if np.isnan(iou).all() else float(np.nanmean(iou))
        return CropScores(float(np.mean(losses)), accuracy(confusion), mean_iou)

    def validation_step(self, batch: WholeImage, _: int) -> None:
        """Log the mAP of one whole image."""
        score = average_precision(batch["labels"], self.postprocess(predict(self.network, batch["image"])))
        self.log("mAP", score, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and a learning rate that warms up linearly, then follows the schedule."""
        optimizer = self.optimizer(self.network.parameters())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda n: learning_rate_factor(self.schedule, n, total, self.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def class_confusion(truth: torch.Tensor, maps: torch.Tensor, activation: Activation) -> np.ndarray:
    """Count pixels by their true class (row) and their predicted class (column), ``int64 (n, n)``.

    Truth and maps are ``float32 (B, C, H, W)``. Classes are the channels where exactly one is true at each
    pixel, background first; otherwise the first map, cut at 0.5, tells nucleus from background.
    """
    if activation == "softmax":
        n, true, predicted = maps.shape[1], truth.argmax(1), maps.argmax(1)
    else:
        n, true, predicted = 2, (truth[:, 0] > 0.5).long(), (maps[:, 0] > 0.5).long()
    return pixel_confusion(true.cpu().numpy(), predicted.cpu().numpy(), n)


def learning_rate_factor(schedule: str, step: int, total: int, warmup: float) -> float:
    """Return the factor of the learning rate at ``step`` of ``total``.

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
