"""``./run.sh push``: the bundle becomes a Kaggle dataset, notebooks run on it, their output comes back."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from omegaconf import DictConfig

from nuclei.call import Call
from nuclei.commands.bundle import NAME
from nuclei.errors import UserError
from nuclei.kaggle.notebooks import Dataset, Notebook
from nuclei.paths import ROOT
from nuclei.submission.submission_record import code_state

PLACEHOLDER = "YOUR_KAGGLE_NAME"
TAIL = 12  # lines of a log that are shown


def main(cfg: DictConfig, call: Call) -> None:
    """Send the dataset, then each notebook in turn."""
    ids = full_ids(cfg)
    if unknown := [name for name in cfg.notebooks if name not in ids or name == "dataset"]:
        raise UserError(f"notebooks has '{unknown[0]}'; there are inference and train")
    kernels = Path(cfg.paths.kernels)
    if not (kernels / "dataset" / NAME).is_file():
        raise UserError(f"no bundle at {kernels / 'dataset' / NAME}; run ./run.sh bundle")
    send_dataset(cfg, kernels / "dataset", ids["dataset"])
    for name in cfg.notebooks:
        run_notebook(cfg, name, kernels / name, ids)


def full_ids(cfg: DictConfig) -> dict[str, str]:
    """Return ``OWNER/SLUG`` of the dataset and of each notebook.

    Raises:
        UserError: the owner is still the placeholder, or a name cannot be one on Kaggle.
    """
    if cfg.owner == PLACEHOLDER:
        raise UserError(
            f"owner={PLACEHOLDER} is a placeholder; give owner=NAME, or write it into configs/push.yaml: "
            "the name in the address of your Kaggle profile; nothing was sent"
        )
    for key, slug in {"owner": cfg.owner, **{f"ids.{name}": slug for name, slug in cfg.ids.items()}}.items():
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug, re.IGNORECASE) or len(slug) > 50:
            raise UserError(
                f"{key}={slug}: expected letters, digits and single hyphens, at most 50; nothing was sent"
            )
    if short := [name for name, slug in cfg.ids.items() if len(slug) < 6]:
        raise UserError(
            f"ids.{short[0]}={cfg.ids[short[0]]}: Kaggle wants 6 characters or more; nothing was sent"
        )
    return {str(name): f"{cfg.owner}/{slug}" for name, slug in cfg.ids.items()}


def metadata(name: str, ids: dict[str, str], competition: str) -> dict[str, object]:
    """Fill the ids of the config into the metadata of a notebook or the dataset."""
    path = ROOT / "kernels" / name / f"{'dataset' if name == 'dataset' else 'kernel'}-metadata.json"
    # Kaggle derives a slug from the title, so they must agree.
    known = json.loads(path.read_text()) | {
        "id": ids[name],
        "title": ids[name].split("/")[1].replace("-", " "),
    }
    if name != "dataset":
        known |= {"dataset_sources": [ids["dataset"]], "competition_sources": [competition]}
    return known


def stage(folder: Path, content: Path, described: dict[str, object]) -> Path:
    """Lay a file and its metadata into a folder of their own, always the same, so that uploads can go on."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / content.name).symlink_to(content.resolve())
    kind = "dataset" if "licenses" in described else "kernel"
    (folder / f"{kind}-metadata.json").write_text(json.dumps(described, indent=2) + "\n")
    return folder


def send_dataset(cfg: DictConfig, folder: Path, ref: str) -> None:
    """Make the dataset or its next version, and wait until notebooks can use it."""
    dataset = Dataset(ref, cfg.kaggle.patience, cfg.kaggle.retries)
    before = dataset.version()
    described = metadata("dataset", full_ids(cfg), cfg.kaggle.competition)
    size = (folder / NAME).stat().st_size / 1e6
    print(f"sending {folder / NAME} ({size:.0f} MB) to {ref}", flush=True)
    commit, dirty = code_state(ROOT)
    notes = f"{commit[:8]}{' and changes' if dirty == 'yes' else ''}" or "no commit"
    dataset.send(stage(folder / "staged", folder / NAME, described), notes, new=before is None)
    version = dataset.wait(before or 0, cfg.wait, cfg.poll)
    print(f"{ref} is ready, version {version}", flush=True)


def run_notebook(cfg: DictConfig, name: str, folder: Path, ids: dict[str, str]) -> None:
    """Push a notebook, wait for its run, and fetch the log and the output.

    Raises:
        UserError: the run failed; its log was fetched all the same.
    """
    notebook = Notebook(ids[name], cfg.kaggle.patience, cfg.kaggle.retries)
    described = metadata(name, ids, cfg.kaggle.competition)
    address = notebook.send(stage(folder / "staged", ROOT / "kernels" / name / f"{name}.ipynb", described))
    print(f"pushed {ids[name]}: {address}", flush=True)
    status, failure = notebook.wait(cfg.wait, cfg.poll)
    output = folder / "output"
    part = folder / ".output.part"
    shutil.rmtree(part, ignore_errors=True)
    files = notebook.fetch(part)
    shutil.rmtree(output, ignore_errors=True)
    part.rename(output)
    print("\n".join(log_lines(output / f"{ids[name].split('/')[1]}.log")[-TAIL:]))
    if status != "complete":
        raise UserError(
            f"{address} ended with status {status}: {failure or 'see its log'}; the log is in {output}"
        )
    after = f"; next: ./run.sh submit submission={output}/submission.csv" if name == "inference" else ""
    print(f"wrote {len(files)} files into {output}{after}")


def log_lines(path: Path) -> list[str]:
    """Return the lines of a log, which Kaggle keeps as pieces of output; none where there is no log."""
    if not path.is_file():
        return []
    try:
        return "".join(piece["data"] for piece in json.loads(path.read_text())).splitlines()
    except (ValueError, KeyError, TypeError):
        return path.read_text().splitlines()
