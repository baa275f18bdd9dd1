"""A run folder belongs to one process and one set of settings."""

import multiprocessing

import pytest

from nuclei.atomic import read_json, write_json
from nuclei.errors import UserError
from nuclei.paths import FoldFolder
from nuclei.training import run_folder as run

SETTINGS = {"seed": 0, "model": {"name": "unet", "channels": ["nucleus"]}, "num_workers": 2}


def begin(folder, settings, free):
    run.claim(folder, settings, free)
    folder.checkpoint.touch()


@pytest.fixture
def folder(tmp_path):
    return FoldFolder(tmp_path)


def test_the_same_settings_may_go_on(folder):
    begin(folder, SETTINGS, ["num_workers"])
    run.claim(folder, SETTINGS | {"num_workers": 0}, ["num_workers"])
    run.claim(folder, SETTINGS | {"model": SETTINGS["model"] | {"name": "linknet"}}, ["model.name"])


def test_a_run_that_failed_before_its_first_checkpoint_may_be_asked_for_otherwise(folder):
    run.claim(folder, SETTINGS, [])
    run.claim(folder, SETTINGS | {"seed": 1}, [])
    assert read_json(folder.settings)["seed"] == 1


def test_other_settings_are_named(folder):
    begin(folder, SETTINGS, [])
    with pytest.raises(UserError, match=r"was begun with seed=0; .* name=OTHER"):
        run.claim(folder, SETTINGS | {"seed": 1}, [])
    with pytest.raises(UserError, match=r"model.name=unet"):
        run.claim(folder, SETTINGS | {"model": {"name": "linknet", "channels": ["nucleus"]}}, [])


def hold(folder, ready, leave):
    with run.locked(folder):
        ready.set()
        leave.wait(20)


def test_a_second_run_is_refused_and_a_dead_one_leaves_no_lock(folder):
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(folder, ready, leave))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match="in use by another run"), run.locked(folder):
        pass
    other.kill()
    other.join()
    with run.locked(folder):
        pass


RESULT = run.RunResult(3, 0.5, 9.25, 2, 26, (1.0, 1.25))


def test_a_result_is_read_as_written(folder):
    assert run.read_result(folder) is None
    run.write_result(folder, RESULT)
    assert run.read_result(folder) == RESULT
    keys = ["images", "mAP", "seconds", "tta", "diameter", "scales", "weights_sha256"]
    assert list(read_json(folder.result)) == keys


def test_a_summary_names_the_score_if_there_is_one():
    assert RESULT.summary == "out-of-fold mAP 0.5000 on 3 images"
    assert run.RunResult(0, None, 1.0, 1, None, (1.0,)).summary == "no image held out"


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\x00", '{"mAP": 0.5, "scales": [1.0], "other": 1}'])
def test_a_damaged_result_is_named(folder, text):
    folder.result.write_text(text)
    with pytest.raises(
        UserError, match=r"done.json is missing or damaged; .*rm \S*done.json; ./run.sh data="
    ):
        run.read_result(folder)


def test_settings_are_read_as_later_stages_need_them(folder):
    settings = {"model": {"channels": ["nucleus"], "network": {"arch": "Unet"}}, "folds_sha256": "f"}
    settings |= {"postprocess": {"steps": [{"low": 1}]}, "samples_per_epoch": 8, "trainer": {"max_epochs": 3}}
    run.claim(folder, settings, [])
    read = run.read_settings(folder)
    assert read == run.RunSettings(("nucleus",), {"arch": "Unet"}, ({"low": 1},), "f", 24)


def test_settings_that_are_not_there_are_named(folder):
    with pytest.raises(UserError, match=r"config.json is missing or damaged"):
        run.read_settings(folder)


def test_no_flipped_bit_of_the_weights_is_loaded(folder):
    folder.weights.write_bytes(bytes(range(64)))
    run.write_result(folder, RESULT)
    assert run.checked_weights(folder) == folder.weights
    for place in range(64):
        damaged = bytearray(range(64))
        damaged[place] ^= 1 << place % 8
        folder.weights.write_bytes(damaged)
        with pytest.raises(UserError, match=r"model.safetensors is missing or damaged; make it anew: rm -f "):
            run.checked_weights(folder)
    folder.weights.unlink()
    with pytest.raises(UserError, match=r"model.safetensors is missing or damaged"):
        run.checked_weights(folder)


def test_a_result_without_the_hash_of_the_weights_is_refused(folder):
    run.write_result(folder, RESULT)
    values = read_json(folder.result)
    for key in values:
        write_json(folder.result, {k: v for k, v in values.items() if k != key})
        with pytest.raises(UserError, match=r"done.json is missing or damaged; make it anew"):
            run.read_result(folder)


@pytest.mark.parametrize("text", ["{", "", "[" * 100000])
def test_damaged_settings_of_a_begun_run_are_named(folder, text):
    begin(folder, SETTINGS, [])
    folder.settings.write_text(text)
    for read in (run.read_settings, lambda folder: run.claim(folder, SETTINGS, [])):
        with pytest.raises(UserError, match=r"config.json is missing or damaged; .* rm -r .*fold="):
            read(folder)
