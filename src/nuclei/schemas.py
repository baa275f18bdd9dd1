"""Types of every command's settings, against which Hydra checks them.

The YAML files in ``configs/`` hold the defaults and what each setting means. What depends on the chosen
option of a group (a loss, a network, an optimizer) is a ``dict``: its types are those of the values in the
option's file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OptionSettings = dict[str, Any]
"""Settings that depend on the chosen option of a group; their types are those of the option's file."""


@dataclass
class Paths:
    """Folders of the stages."""

    data: str
    runs: str
    folds: str
    ensembles: str
    submissions: str
    kernels: str
    reports: str


@dataclass
class Budget:
    """How much a training sees by default; without ``crop`` the sizes follow from the data."""

    crop: int | None
    scale: list[float] | None
    batch_size: int
    samples_per_epoch: int
    max_epochs: int


@dataclass
class WithoutGpu:
    """The smaller recipe of a data set; see ``nuclei.training.environment``."""

    model: str
    batch_size: int
    samples_per_epoch: int
    max_epochs: int


@dataclass
class Data:
    """A data set: its source, its files, and the size of its trainings."""

    name: str
    budget: Budget
    class_channels: list[str] | None
    source: OptionSettings
    root: str
    store: str
    folds: str
    without_gpu: WithoutGpu | None = None
    n_kinds: int = 0
    fewer_folds: bool = False


@dataclass
class Kaggle:
    """The competition, and how long its server is waited for."""

    competition: str
    patience: float
    retries: int


@dataclass
class Trainer:
    """Arguments of ``lightning.Trainer``."""

    max_epochs: int
    limit_train_batches: int | float
    limit_val_batches: int | float
    check_val_every_n_epoch: int | None
    gradient_clip_val: float | None
    accelerator: str
    devices: int | str
    num_nodes: int
    strategy: str
    precision: str
    deterministic: bool
    log_every_n_steps: int


@dataclass
class Schema:
    """Settings of every command; those of one command stand in a subclass of its name."""

    paths: Paths


@dataclass
class DataSchema(Schema):
    """Settings of every command that works on a data set."""

    data: Data


@dataclass
class Prepare(DataSchema):
    workers: int


@dataclass
class Folds(DataSchema):
    n_folds: int
    fewer: bool
    seed: int
    n_kinds: int
    correlation: float
    jump: float
    force: bool


@dataclass
class Train(DataSchema):
    loss: OptionSettings
    optimizer: OptionSettings
    augment: OptionSettings
    postprocess: OptionSettings
    model: OptionSettings
    trainer: Trainer
    fold: int | str
    name: str
    recipe: str
    seed: int
    batch_size: int
    samples_per_epoch: int
    num_workers: int | None
    init: str | None
    val_crops: int
    schedule: str
    warmup: float
    ema_decay: float
    tta: int
    scales: list[float]
    diameter: int | None


@dataclass
class Interval:
    """The range of a tuned parameter."""

    low: int | float
    high: int | float
    log: bool = False
    integer: bool = False


@dataclass
class Ensemble(DataSchema):
    postprocess: OptionSettings
    floor: OptionSettings
    runs: Any
    name: str
    seed: int
    workers: int
    trials: int
    refine: int
    finalists: int
    images: int
    crop: int
    second_stage: bool
    space: dict[str, Interval]


@dataclass
class Analyse(DataSchema):
    ensemble: str
    run: str | None
    compare: str | None
    workers: int
    examples: int
    suspects: int
    postprocess: OptionSettings | None = None


@dataclass
class Submission(DataSchema):
    ensemble: str
    name: str
    tta: int | None
    images: str | None
    time_limit: float | None


@dataclass
class Reproduce(DataSchema):
    run: str
    fold: int | str


@dataclass
class Export(DataSchema):
    run: str
    fold: int | str
    ensemble: str | None
    output: str | None


@dataclass
class Ray:
    """Where ``predict engine=ray`` runs."""

    address: str | None
    num_gpus: float


@dataclass
class Thresholds:
    """Parameters of the post-processing; None leaves the model's own."""

    low: float | None
    high: float | None
    marker_threshold: float | None
    border_weight: float | None
    distance_weight: float | None
    sigma: float | None
    peak_distance: int | None
    min_score: float | None
    min_area: int | None


@dataclass
class Predict(DataSchema):
    input: str | None
    output: str
    weights: str | None
    ensemble: str | None
    tta: int | None
    channel: int | str | None
    z: int | None
    t: int | None
    modality: str | None
    invert: bool | None
    diameter: float | None
    pixel_size: float | None
    thresholds: Thresholds
    save: list[str]
    workers: int
    tile: int | None
    again: bool
    engine: str
    ray: Ray


@dataclass
class Limits:
    """What visitors of the page may upload."""

    megabytes: int
    megapixels: int
    pages: int


@dataclass
class Slider:
    """A setting on the page."""

    label: str
    minimum: int | float
    maximum: int | float
    step: int | float


@dataclass
class App(DataSchema):
    weights: str | None
    ensemble: str | None
    tta: int | None
    host: str
    port: int | None
    limits: Limits
    sliders: dict[str, Slider]


@dataclass
class Validate(DataSchema):
    submission: str | None
    solution: str | None
    fix: bool


@dataclass
class Score(DataSchema):
    submission: str | None
    solution: str | None
    run: str | None
    labels: str | None
    truth: str | None
    output: str
    workers: int
    postprocess: OptionSettings | None = None


@dataclass
class ImageCounts:
    """Numbers of images that a download may have."""

    train: list[int]
    test: list[int]


@dataclass
class Download(DataSchema):
    kaggle: Kaggle
    archive: str | None
    images: ImageCounts


@dataclass
class Submit(DataSchema):
    kaggle: Kaggle
    submission: str | None
    name: str
    solution: str | None
    message: str
    again: bool
    wait: float
    poll: float


@dataclass
class Bundle(DataSchema):
    ensemble: str
    runs: Any
    tta: int | None
    time_limit: float
    train: OptionSettings


@dataclass
class KaggleIds:
    """Last parts of addresses on Kaggle."""

    dataset: str
    inference: str
    train: str


@dataclass
class Push(Schema):
    kaggle: Kaggle
    owner: str
    ids: KaggleIds
    notebooks: list[str]
    wait: float
    poll: float


@dataclass
class Ledger(Schema):
    """Settings of ``ledger``."""


@dataclass
class All(DataSchema):
    models: list[str]
    name: str
    recipe: str
    train: OptionSettings
    ensemble: OptionSettings
    submission: OptionSettings


@dataclass
class Table(DataSchema):
    """Settings of ``table``; ``nuclei.reproduce`` checks the paper's own."""

    paper: Any
    budget: str
    only: list[str] | None
    seed: int
    docs: str


@dataclass
class Bench(DataSchema):
    parts: list[str]
    images: int
    seed: int
    rows: int
    repeats: int
    searches: int
    members: int
    trials: int
    workers: int


SCHEMAS: dict[str, type[Schema]] = {
    schema.__name__.lower(): schema
    for parent in (Schema, DataSchema)
    for schema in parent.__subclasses__()
    if schema is not DataSchema
}
"""The schema of each command."""
