"""A run folder belongs to one process and one set of settings."""

import multiprocessing

import pytest

from nuclei.errors import UserError
from nuclei.training import run_folder as run

SETTINGS = {"seed": 0, "model": {"name": "unet", "channels": ["nucleus"]}, "num_workers": 2}


def begin(folder, settings, free):
    run.claim(folder, settings, free)
    (folder / "last.ckpt").touch()


def test_the_same_settings_may_go_on(tmp_path):
    begin(tmp_path, SETTINGS, ["num_workers"])
    run.claim(tmp_path, SETTINGS | {"num_workers": 0}, ["num_workers"])
    run.claim(tmp_path, SETTINGS | {"model": SETTINGS["model"] | {"name": "linknet"}}, ["model.name"])


def test_a_run_that_failed_before_its_first_checkpoint_may_be_asked_for_otherwise(tmp_path):
    run.claim(tmp_path, SETTINGS, [])
    run.claim(tmp_path, SETTINGS | {"seed": 1}, [])
    assert run.settings_of(tmp_path)["seed"] == 1


def test_other_settings_are_named(tmp_path):
    begin(tmp_path, SETTINGS, [])
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
    begin(tmp_path, SETTINGS | {"augment": {"crop": 256}}, ["num_workers"])
    now = SETTINGS | {"schedule": "cosine", "augment": {"crop": 256, "tint": 0.0}}
    run.claim(tmp_path, now, [])
    run.claim(tmp_path, SETTINGS | {"augment": {"crop": 256}}, [])  # of augmentations that lack it
    with pytest.raises(UserError, match="begun with schedule=cosine"):
        run.claim(tmp_path, now | {"schedule": "constant"}, [])
