"""A competition on a local Kaggle: files, submissions, scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from kaggle_server import KaggleServer

from nuclei.errors import UserError
from nuclei.kaggle.client import Refused, Unreachable
from nuclei.kaggle.competition import Competition, Score, Submission, find_submission, refuse_invalid
from nuclei.kaggle.ledger import read_ledger
from nuclei.submission.csv_files import ExpectedImages


@pytest.fixture
def competition(server: KaggleServer) -> Competition:
    return Competition("bowl", 2.0, 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "x.csv").write_text("ImageId,EncodedPixels\na,1 2\n")
    return tmp_path / "x.csv"


def test_a_submission_has_a_number_and_a_score(
    server: KaggleServer, competition: Competition, file: Path
) -> None:
    server.state.pending_looks = 1
    ref = competition.create_submission(competition.upload_submission(file), "the first")
    assert server.state.uploads == {"/up/x.csv": file.read_bytes()} and ref == "100"
    assert competition.score(ref, "another") == Score("pending", ref="100")
    assert competition.score("", "the first") == Score("complete", "0.42", "0.43", ref="100")
    assert competition.score("101", "another") is None
    assert competition.submissions_left_today() == 4


def test_a_submission_may_have_arrived_unless_it_was_refused(
    server: KaggleServer, competition: Competition
) -> None:
    server.state.refuse["CreateSubmission"] = (503, "")
    with pytest.raises(Unreachable):
        competition.create_submission("token", "the first")
    server.state.refuse["CreateSubmission"] = (400, "")
    with pytest.raises(Refused):
        competition.create_submission("token", "the first")
    assert server.state.calls.count("CreateSubmission") == 2


def test_a_sent_file_that_kaggle_does_not_list_is_not_sent_again(
    server: KaggleServer, competition: Competition, file: Path, tmp_path: Path
) -> None:
    submission = Submission(file, competition, tmp_path / "ledger.csv", tmp_path)
    submission.send("first", again=False)
    server.state.submissions.clear()
    with pytest.raises(UserError, match=r"/c/bowl/submissions does not list it\); .*again=true"):
        submission.send("first", again=False)
    assert submission.send("first", again=True).status == "pending"


def test_a_file_that_changes_meanwhile_is_not_submitted(
    server: KaggleServer, competition: Competition, file: Path, tmp_path: Path
) -> None:
    server.state.meanwhile["StartSubmissionUpload"] = lambda: file.write_text(
        "ImageId,EncodedPixels\na,3 1\n"
    )
    with pytest.raises(UserError, match=r"x\.csv has changed while it was sent; nothing was submitted"):
        Submission(file, competition, tmp_path / "ledger.csv", tmp_path).send("first", again=False)
    assert server.state.submissions == [] == read_ledger(tmp_path / "ledger.csv")


def test_a_limit_without_a_score_leaves_it_pending(
    server: KaggleServer, competition: Competition, file: Path, tmp_path: Path
) -> None:
    server.state.pending_looks = 10**6
    submission = Submission(file, competition, tmp_path / "ledger.csv", tmp_path)
    row = submission.send("first", again=False)
    with pytest.raises(UserError, match="no score after 0 s"):
        submission.wait(row, 0.05, 0.01)
    assert submission.send(None, again=False) == row  # found in the ledger, and not sent again
    assert server.state.calls.count("CreateSubmission") == 1
    assert [row.status for row in read_ledger(tmp_path / "ledger.csv")] == ["pending"]


def test_files_that_are_there_are_not_fetched_again(
    server: KaggleServer, competition: Competition, tmp_path: Path
) -> None:
    server.state.archive = b"a zip"
    assert competition.download_files(tmp_path).read_bytes() == b"a zip"
    calls = list(server.state.calls)
    assert competition.download_files(tmp_path) == tmp_path / "bowl.zip"
    assert server.state.calls == calls


def test_a_submission_is_found_by_path_or_name(file: Path, tmp_path: Path) -> None:
    assert find_submission(Path("nowhere"), str(file), "") == file
    assert find_submission(tmp_path, None, "x") == file
    with pytest.raises(UserError, match=r"which submission\? .*\(there: x\)"):
        find_submission(tmp_path, None, "")
    with pytest.raises(UserError, match=r"there is no submission .*y\.csv"):
        find_submission(tmp_path, None, "y")


def test_an_invalid_file_is_refused(file: Path) -> None:
    refuse_invalid(file, ExpectedImages({"a": (2, 2)}, "x.store"))
    with pytest.raises(UserError, match=r"not valid for the images of x\.store, 1 violations; ImageId b"):
        refuse_invalid(file, ExpectedImages({"a": (2, 2), "b": None}, "x.store"))
