"""Commands, their settings, errors of one line, exit statuses, and the way to the demo data."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import nuclei
from nuclei.cli import COMMANDS, composed_runs, help_text, main, split_words
from nuclei.commands import prepare
from nuclei.config import Call, compose_config, config_folder, expand_sweep
from nuclei.errors import UserError

DEMO_LINE = (
    "there's no competition data at data/dsb2018 (./run.sh download fetches it), using the demo data set\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in; what a run changes in the process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return tmp_path


def received(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let ``prepare`` only note what config it is given."""
    configs: list[Any] = []
    monkeypatch.setattr(prepare, "main", lambda cfg, call: configs.append(cfg))
    return configs


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]])
def test_help_lists_every_command_on_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out if line.startswith("  ")] == list(COMMANDS)


def test_help_answers_at_once() -> None:
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "nuclei", "help"], check=True, capture_output=True, env=environment()
    )
    assert time.monotonic() - start < 2  # a busy machine; 0.05 s otherwise


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that finds the package."""
    src = str(Path(__file__).parents[1] / "src")
    return {**os.environ, "PYTHONPATH": src, **more}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'? ./run.sh help lists them"),
        (["prepare", "wrokers=3"], "prepare has no setting 'wrokers'; did you mean 'workers'?"),
        (["prepare", "workers=many"], "workers must be a whole number, got 'many'"),
        (["prepare", "data=dem"], "data has no 'dem'; did you mean 'demo'? It has: consep, "),
        (["prepare", "workers"], "cannot read 'workers': settings are written key=value; see ./run.sh help"),
        (["prepare", "--workers=3"], "no option '--workers=3'; settings are written key=value"),
        (["prepare", "workers=1,2"], "workers=1,2 names several values: add -m for one run each"),
        (["-m", "fold=0,x"], "fold must be a whole number, got 'x'"),
        (["fold=x"], "fold must be a whole number, got 'x'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {said}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(("word", "text"), [("name=007", "007"), ("name=7", "7"), ("name=x=1, y", "x=1, y")])
def test_text_stays_text(word: str, text: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = received(monkeypatch)
    assert main(["prepare", word.replace("name", "data.name")]) == 0
    assert configs[0].data.name == text


def test_without_competition_data_the_demo_is_used_and_said_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = received(monkeypatch)
    assert main(["prepare"]) == 0
    assert configs[0].data.name == "demo"
    assert capsys.readouterr().err == DEMO_LINE
    assert main(["prepare", "-m", "workers=1,2"]) == 0
    assert [cfg.data.name for cfg in configs] == ["demo"] * 3
    assert capsys.readouterr().err.count(DEMO_LINE) == 1


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (["data=dsb2018"], ""),
        (["data.root=elsewhere"], ""),
        ([], "data/dsb2018/"),
        ([], "data/dsb2018.store"),
        (["paths.data=other"], "other/dsb2018/"),
    ],
)
def test_with_competition_data_or_a_wish_the_demo_is_left_alone(
    words: list[str],
    made: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / made).parent.mkdir(parents=True, exist_ok=True)
    (here / made).mkdir(exist_ok=True)
    configs = received(monkeypatch)
    assert main(["prepare", *words]) == 0
    assert configs[0].data.name == "dsb2018"
    assert capsys.readouterr().err == ""


def test_a_sweep_runs_each_and_leaves_nothing_behind(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = received(monkeypatch)
    assert main(["prepare", "-m", "workers=1,2", "data=demo,dsb2018"]) == 0
    assert [(c.workers, c.data.name) for c in configs] == [
        (1, "demo"),
        (1, "dsb2018"),
        (2, "demo"),
        (2, "dsb2018"),
    ]
    assert not list(here.iterdir())


def broken(cfg: Any, call: Call) -> None:
    """Fail as a defect would."""
    raise ValueError("the colour\n is wrong")


def wrapped(cfg: Any, call: Call) -> None:
    """Fail as a constructor does that a config names."""
    try:
        raise UserError("no file x; make it")
    except UserError as e:
        raise RuntimeError("Error in call to target") from e


def interrupted(cfg: Any, call: Call) -> None:
    """Be stopped by Ctrl-C."""
    raise KeyboardInterrupt


def interrupted_in_training(cfg: Any, call: Call) -> None:
    """Be stopped by Ctrl-C as Lightning passes it on."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


@pytest.mark.parametrize("sweep", [[], ["-m"]])
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (broken, 2, "error: ValueError: the colour is wrong (--debug shows the traceback)\n"),
        (wrapped, 2, "error: no file x; make it\n"),
        (interrupted, 130, "stopped; the same command goes on\n"),
        (interrupted_in_training, 130, "stopped; the same command goes on\n"),
    ],
)
def test_a_failure_is_one_line(
    command: Any,
    status: int,
    said: str,
    sweep: list[str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(prepare, "main", command)
    assert main(["prepare", *sweep, "data=demo"]) == status
    assert capsys.readouterr().err == said


def test_debug_shows_the_traceback(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "main", broken)
    assert main(["prepare", "data=demo", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert 'raise ValueError("the colour' in err


def test_a_real_error_through_a_real_process(here: Path) -> None:
    words = [sys.executable, "-m", "nuclei", "prepare", "data.root=nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=here, env=environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no competition data at nowhere; run ./run.sh download")
    assert not list(here.iterdir())


SMALL = {"batch_size": 8, "samples_per_epoch": 512, "trainer.max_epochs": 9}
SMALL_WORDS = [f"{name}={value}" for name, value in SMALL.items()]


@pytest.mark.parametrize(
    ("command", "settings", "added"),
    [
        ("train", [], [*SMALL_WORDS, "model=unet_lite0"]),
        ("train", ["model=unet", "batch_size=4"], SMALL_WORDS[1:]),
        ("train", ["model=unet", *SMALL_WORDS], []),
        ("train", ["recipe=full"], []),
        (
            "all",
            [],
            ["train={batch_size:8,samples_per_epoch:512,trainer.max_epochs:9}", "models=[unet_lite0]"],
        ),
        (
            "all",
            ["models=[unet]", "train={seed:1,batch_size:4}"],
            ["train={samples_per_epoch:512,trainer.max_epochs:9}"],
        ),
    ],
)
def test_without_a_gpu_the_recipe_is_small_and_said_so(
    command: str,
    settings: list[str],
    added: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*settings, "data=dsb2018"]
    monkeypatch.setattr("nuclei.cli.has_gpu", lambda: False)
    [(call, cfg)] = composed_runs(command, words, sweep=False)
    assert call == Call(command, tuple(words))
    expected = compose_config(command, [*words, *added])
    expected.recipe = "full" if "recipe=full" in settings else "small: no GPU"
    assert cfg == expected
    note = f"no GPU, so the same recipe in small: {' '.join(added)}\n" if added else ""
    assert capsys.readouterr().err == note


def test_with_a_gpu_the_recipe_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuclei.cli.has_gpu", lambda: True)
    [(_, cfg)] = composed_runs("train", ["data=dsb2018"], sweep=False)
    assert (cfg.recipe, cfg.batch_size) == ("full", 16)


def test_a_data_set_without_a_smaller_recipe_refuses_one() -> None:
    with pytest.raises(UserError, match="recipe=small: data=demo has no smaller recipe"):
        composed_runs("train", ["data=demo", "recipe=small"], sweep=False)


def test_help_of_a_command_shows_examples_settings_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("./run.sh train key=value ...    train one model on one fold")
    assert "  ./run.sh train fold=0\n" in out
    assert "fold: 0 # held out; all trains on every image" in out
    assert "loss: bce_dice; or one of bce, bce_dice" in out
    assert main(["help", "train", "optimizer", "model=otsu"]) == 0
    longer = capsys.readouterr().out
    assert longer.startswith(out.rstrip()) and "lr: 2e-3" in longer and "nuclei.models.otsu.Otsu" in longer
    assert main(["help", "train", "optimiser"]) == 2
    assert "train has no group 'optimiser'; expected one of paths, data, loss" in capsys.readouterr().err


def test_help_of_a_whole_call_and_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fold=0", "model=otsu", "--help"]) == 0
    assert "nuclei.models.otsu.Otsu" in capsys.readouterr().out
    assert main(["help", "help"]) == 0
    assert "[COMMAND] [key=value ...]" in capsys.readouterr().out
    for words in (["help", "test"], ["test", "--help"]):
        assert main(words) == 0 and " test tests/data" in capsys.readouterr().out
    assert main(["help", "ensemble"]) == 0
    assert "postprocess@floor.components: components" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "-m", "fold=0,1", "hydra.launcher.n_jobs=2"],
            "choose a launcher too, hydra/launcher=joblib",
        ),
        (
            ["train", "-m", "fold=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            "n_jobs=0: expected 1",
        ),
        (["ensemble", "data=demo", "runs=5"], "no store at"),
        (["score", "data=demo", "submission=x.csv", "solution=null"], "no solution at None"),
        (["submission", "data=demo", "name=ledger"], "name=ledger: the ledger of submissions has this name"),
    ],
)
def test_a_setting_of_another_kind_is_one_line(
    here: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in (err := capsys.readouterr().err) and "Error:" not in err


def test_help_names_the_options_that_are_taken() -> None:
    for command in (name for name in COMMANDS if name not in ("help", "test")):
        composed = compose_config(command)
        for name, option in re.findall(
            r"^(\w+): (\w+)(?:; or one of|$)", help_text(command, []), re.MULTILINE
        ):
            options = {path.stem for path in (config_folder() / name).glob("*.yaml")}
            if option in options:
                chosen = compose_config(command, [f"{name}={option}"])
                assert composed == chosen, f"{command}: {name}={option} is no default"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("help", "test")])
def test_help_fits_a_screen_and_its_examples_are_right(command: str) -> None:
    lines = help_text(command, []).splitlines()
    assert len(lines) <= 40
    examples = [shlex.split(line)[2:] for line in lines if line.startswith(f"  ./run.sh {command}")]
    assert len(examples) in (2, 3)
    for words in examples:
        flags, settings = split_words(words)
        for each in expand_sweep(settings) if flags else [settings]:
            assert compose_config(command, each)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nuclei {nuclei.__version__}\n"


def test_a_run_that_fails_does_not_take_the_others_along(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    def work(cfg: Any, call: Call) -> None:
        if cfg.workers == 2:
            raise UserError("no second worker")
        done.append(cfg.workers)

    monkeypatch.setattr(prepare, "main", work)
    assert main(["prepare", "-m", "workers=1,2,3", "data=demo"]) == 2
    assert done == [1, 3]
    assert capsys.readouterr().err == (
        "error: no second worker; going on with the next run\n"
        "error: 1 of 3 runs failed: ./run.sh prepare workers=2 data=demo\n"
    )
