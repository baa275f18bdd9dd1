"""A run folder belongs to one process and one set of settings."""

import multiprocessing

import pytest

from nuclei.errors import UserError
from nuclei.training import run

SETTINGS = {"seed": 0, "model": {"name": "unet", "channels": ["nucleus"]}, "num_workers": 2}


def test_the_same_settings_may_go_on(tmp_path):
    run.claim(tmp_path, SETTINGS, ["num_workers"])
    run.claim(tmp_path, SETTINGS | {"num_workers": 0}, ["num_workers"])


def test_other_settings_are_named(tmp_path):
    run.claim(tmp_path, SETTINGS, [])
    with pytest.raises(UserError, match=r"was begun with seed=0; .* name=OTHER"):
        run.claim(tmp_path, SETTINGS | {"seed": 1}, [])
    with pytest.raises(UserError, match=r"model.name=unet"):
        run.claim(tmp_path, SETTINGS | {"model": {"name": "linknet", "channels": ["nucleus"]}}, [])


def hold(folder, ready, leave):
    with run.locked(folder):
        ready.set()
        leave.wait(20)


def test_a_second_run_is_refused_and_a_dead_one_leaves_no_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, leave))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match="in use by another run"), run.locked(tmp_path):
        pass
    other.kill()
    other.join()
    with run.locked(tmp_path):
        pass


def test_finished(tmp_path):
    assert run.finished(tmp_path) is None
    run.finish(tmp_path, {"mAP": 0.5})
    assert run.finished(tmp_path) == {"mAP": 0.5}


def test_a_folder_begun_before_there_was_a_choice_had_the_default(tmp_path):
    run.claim(tmp_path, SETTINGS, ["num_workers"])
    run.claim(tmp_path, SETTINGS | {"schedule": "cosine"}, ["num_workers"])
    with pytest.raises(UserError, match="begun with schedule=cosine"):
        run.claim(tmp_path, SETTINGS | {"schedule": "constant"}, ["num_workers"])
