"""Work on all cores."""

import os
import time

import cv2
import numpy as np
import pytest

from nuclei.data.folds import read_folds
from nuclei.errors import UserError
from nuclei.parallel import spread


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(spread(abs, range(-9, 0), workers, chunksize=2)) == list(range(9, 0, -1))


def test_one_worker_is_this_process():
    assert list(spread(lambda _: os.getpid(), [0], 1)) == [os.getpid()]


def test_threads_of_opencv_here_do_not_stop_the_others():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        cv2.resize(np.zeros((2048, 2048), np.float32), (4000, 4000))  # begins the threads
        time.sleep(0.3)  # they fall asleep; a fork that inherits them would wait for ever
        assert list(spread(cv2.setNumThreads, [1] * 4, 2, chunksize=1)) == [None] * 4
    finally:
        cv2.setNumThreads(before)


def test_an_error_there_is_raised_here(tmp_path):
    with pytest.raises(UserError, match="no folds file"):
        list(spread(read_folds, [tmp_path / "no.csv"] * 2, 2))
