"""The door: commands, settings, errors of one line, exit statuses, and the way to the demo data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nuclei.__main__ import COMMANDS, main
from nuclei.call import Call
from nuclei.commands import prepare
from nuclei.commands._compose import checked
from nuclei.commands.train import asked
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


@pytest.fixture
def configs(here: Path) -> Path:
    """Configs of one command, ``paint``, with a group of two options."""
    files = {
        "paint.yaml": "defaults: [brush: thin, _self_]\ncount: 3\nshare: 0.5\nname: red\nbright: true\n"
        'sizes: [1, 2]\nlimit: null\nnote: ""\nalias: ${count}\nneeded: ???\nbox: {tall: 1}\n',
        "brush/thin.yaml": "width: 1.0\n",
        "brush/thick.yaml": "width: 9.0\nhairs: 80\n",
    }
    for name, text in files.items():
        path = here / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return here / "configs"


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
        (["prepare", "data=dem"], "data has no 'dem'; did you mean 'demo'? It has: consep, demo, dsb2018"),
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


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("count=x", "count must be a whole number, got 'x'"),
        ("count=1.5", "count must be a whole number, got 1.5"),
        ("count=true", "count must be a whole number, got True"),
        ("share=x", "share must be a number, got 'x'"),
        ("bright=1", "bright must be true or false, got 1"),
        ("sizes=3", r"sizes must be a list such as \[a,b\], got 3"),
        ("name=[a]", r"name must be text, got \['a'\]"),
        ("alias=x", "alias must be a whole number, got 'x'"),
        ("brush.width=x", "brush.width must be a number, got 'x'"),
        ("brush.wdth=1", "paint has no setting 'brush.wdth'; did you mean 'brush.width'?"),
        ("width=1", "paint has no setting 'width'; did you mean 'brush.width'?"),
        ("brush.hairs=1", "paint has no setting 'brush.hairs'"),
        ("brush=thik", "brush has no 'thik'; did you mean 'thick'?"),
        ("box={tall:x}", "box.tall must be a whole number, got 'x'"),
        ("box={tal:1}", "box has no setting 'tal'; did you mean 'tall'?"),
        ("box=1", "box must be a group of settings, got 1"),
    ],
)
def test_each_value_is_checked_against_its_default(word: str, said: str, configs: Path) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        checked("paint", [word], configs)


@pytest.mark.parametrize(
    "word",
    [
        "count=4",
        "count=null",
        "share=1",
        "share=1e-3",
        "bright=false",
        "sizes=[]",
        "limit=x",
        "limit=3",
        "needed=3",
        "needed=x",
        "name=blue",
        "name='a'",
        "name=${brush.width}",
        "+more=1",
        "~share",
    ],
)
def test_a_value_that_fits_passes_as_it_is(word: str, configs: Path) -> None:
    assert checked("paint", [word], configs) == [word]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("note=first, and best", "note='first, and best'"),
        ("note=a,b", "note='a,b'"),
        ("note=it's a, b", "note='it\\'s a, b'"),
        ("name=red, then blue", "name='red, then blue'"),
    ],
)
def test_a_text_with_a_comma_is_no_sweep(word: str, expected: str, configs: Path) -> None:
    assert checked("paint", [word], configs) == [expected]


@pytest.mark.parametrize("word", ["name=a,b", "count=1, 2", "brush=thin,thick", "limit=a, b"])
def test_values_with_a_comma_are_a_sweep_elsewhere(word: str, configs: Path) -> None:
    with pytest.raises(UserError, match="names several values: add -m"):
        checked("paint", [word], configs)
    assert checked("paint", [word], configs, sweep=True)


def test_an_option_brings_its_own_settings(configs: Path) -> None:
    assert checked("paint", ["brush.hairs=3", "brush=thick"], configs) == ["brush.hairs=3", "brush=thick"]


def test_a_sweep_is_checked_for_each_of_its_options(configs: Path) -> None:
    assert checked("paint", ["count=1,2", "brush=thin,thick"], configs, sweep=True)
    with pytest.raises(UserError, match=r"no setting 'brush\.hairs'"):
        checked("paint", ["brush=thin,thick", "brush.hairs=3"], configs, sweep=True)


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
        (interrupted, 130, "stopped\n"),
        (interrupted_in_training, 130, "stopped\n"),
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


SMALL = ["batch_size=8", "samples_per_epoch=512", "trainer.max_epochs=9"]


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["train"], [*SMALL, "model=unet_lite0"]),
        (["train", "model=unet", "batch_size=4"], [*SMALL[1:]]),
        (["train", "model=unet", *SMALL], []),
        (["all"], [f"train='{' '.join(SMALL)}'", "models=[unet_lite0]"]),
        (["all", "models=[unet]", "train='seed=1'"], [f"train='{' '.join(SMALL)} seed=1'"]),
        (["all", "models=[unet]", f"train='{' '.join(SMALL)}'"], []),
        (["train", "data=demo"], []),
        (["ensemble"], []),
    ],
)
def test_without_a_gpu_the_recipe_is_small_and_said_so(
    words: list[str],
    added: list[str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, *settings = words
    settings += [] if "data=demo" in words else ["data=dsb2018"]
    configs = Path(__file__).parents[1] / "configs"
    monkeypatch.setattr("nuclei.commands._compose.has_gpu", lambda: False)
    assert checked(command, settings, configs) == settings + added
    said = f"no GPU, so the same recipe in small: {' '.join(added)}\n" if added else ""
    assert capsys.readouterr().err == said
    monkeypatch.setattr("nuclei.commands._compose.has_gpu", lambda: True)
    assert checked(command, settings, configs) == settings


@pytest.mark.parametrize(("gpu", "repeated"), [(False, ["seed=1"]), (True, ["batch_size=8", "seed=1"])])
def test_the_next_fold_is_proposed_with_what_the_machine_does_not_choose_by_itself(
    gpu: bool, repeated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"model": "unet_lite0", "batch_size": 8, "samples_per_epoch": 512, "max_epochs": 9}
    cfg = OmegaConf.create({"data": {"without_gpu": small}})
    monkeypatch.setattr("nuclei.commands.train.has_gpu", lambda: gpu)
    assert asked(cfg, Call("train", ("fold=0", "name=a", "batch_size=8", "seed=1"))) == repeated
