"""``submit`` through Kaggle's own SDK: what arrives, what is written down, what a fault leaves behind."""

from __future__ import annotations

import csv
import hashlib
import resource
import time

import pytest
from kaggle_server import TOKEN, KaggleServer
from sandbox import Sandbox, one_line

from nuclei.atomic import write_json

ENTRY = "ImageId,EncodedPixels\na,1 2 6 1\na,9 1\nb,\n"
SUBMIT = ("submit", "submission=submissions/x.csv", "poll=0.1", "wait=5.0")


@pytest.fixture(autouse=True)
def entry(sandbox: Sandbox) -> None:
    """Put a valid submission and the list of expected images onto the sandbox."""
    for path, text in {
        "submissions/x.csv": ENTRY,
        "data/dsb2018/stage1_sample_submission.csv": "ImageId,EncodedPixels\na,1 1\nb,1 1\n",
    }.items():
        (sandbox.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (sandbox.folder / path).write_text(text)


def ledger(sandbox: Sandbox) -> list[dict[str, str]]:
    path = sandbox.folder / "submissions/ledger.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


def succeeds(sandbox: Sandbox, *words: str, **credentials: str) -> str:
    done = sandbox.run(*SUBMIT, *words, **credentials)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(sandbox: Sandbox, *words: str, **credentials: str) -> str:
    """Submit, expect one line, and check that neither file nor ledger changed."""
    before = ledger(sandbox)
    said = one_line(sandbox.run(*SUBMIT, *words, **credentials))
    assert ledger(sandbox) == before
    assert (sandbox.folder / "submissions/x.csv").read_text() == ENTRY
    return said


def test_a_submission_arrives_is_scored_and_written_down(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.pending_looks = 2
    out = succeeds(sandbox, "message=a first try: 50% done")
    assert server.state.uploads == {"/up/x.csv": ENTRY.encode()}
    assert server.state.submissions[0]["description"].startswith("a first try: 50% done [")
    assert server.state.calls.count("ListSubmissions") == 3
    assert "public 0.42, private 0.43; 4 submissions left today" in out.splitlines()[-1]
    (row,) = ledger(sandbox)
    assert row["sha256"] == hashlib.sha256(ENTRY.encode()).hexdigest()
    assert (row["file"], row["status"], row["ref"]) == ("submissions/x.csv", "complete", "100")
    assert (row["public"], row["private"]) == ("0.42", "0.43")
    assert row["message"] == server.state.submissions[0]["description"]
    assert len(row["commit"]) in (0, 40)


def test_a_name_is_enough_and_a_token_opens_too(sandbox: Sandbox, server: KaggleServer) -> None:
    done = sandbox.run("submit", "name=x", "poll=0.1", KAGGLE_API_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert server.state.submissions[0]["description"].startswith("x")


def test_an_invalid_file_is_not_sent(sandbox: Sandbox, server: KaggleServer) -> None:
    (sandbox.folder / "submissions/bad.csv").write_text("ImageId,EncodedPixels\na,5 1 1 1\nb,\n")
    said = one_line(sandbox.run("submit", "name=bad"))
    assert "submissions/bad.csv is not valid" in said and "line 2" in said
    assert server.state.calls == []


def test_no_file_named_lists_what_is_there(sandbox: Sandbox) -> None:
    assert "(there: x)" in one_line(sandbox.run("submit"))


def test_a_bare_400_lists_every_known_cause_and_its_page(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse["CreateSubmission"] = (400, "")
    said = fails(sandbox)
    assert "400 Bad Request" in said and said.count("https://www.kaggle.com/") == 5
    for words in ("rules", "phone", "daily limit", "mistyped", "closed"):
        assert words in said


def test_rules_not_accepted(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse["StartSubmissionUpload"] = (403, "You must accept the rules of this competition")
    said = fails(sandbox)
    assert "https://www.kaggle.com/c/data-science-bowl-2018/rules" in said and "mistyped" not in said


def test_500_in_mid_upload_then_trying_again_works(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse["PUT"] = (500, "")
    said = fails(sandbox)
    assert "submissions/x.csv" in said and "500" in said and "CreateSubmission" not in server.state.calls
    server.state.refuse.clear()
    succeeds(sandbox)
    assert [row["status"] for row in ledger(sandbox)] == ["complete"]


@pytest.mark.parametrize(
    "credentials", [{"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": "wrong"}, {"KAGGLE_API_TOKEN": "wrong"}]
)
def test_wrong_credentials(sandbox: Sandbox, credentials: dict[str, str]) -> None:
    said = fails(sandbox, **credentials)
    assert "https://www.kaggle.com/settings/api" in said and "~/.kaggle/access_token" in said


def test_no_credentials(sandbox: Sandbox, server: KaggleServer) -> None:
    said = fails(sandbox, KAGGLE_KEY="")
    assert "no Kaggle credentials" in said and "https://www.kaggle.com/settings/api" in said
    assert server.state.calls == []


def test_a_damaged_key_file_is_named(sandbox: Sandbox) -> None:
    (sandbox.home / ".kaggle").mkdir()
    (sandbox.home / ".kaggle/kaggle.json").write_text("{")
    assert ".kaggle/kaggle.json" in fails(sandbox, KAGGLE_KEY="")


@pytest.mark.parametrize("method", ["StartSubmissionUpload", "PUT", "CreateSubmission"])
def test_a_server_that_falls_silent_ends_the_wait(
    sandbox: Sandbox, server: KaggleServer, method: str
) -> None:
    server.state.delay[method] = 20
    start = time.monotonic()
    said = one_line(sandbox.run(*SUBMIT, "kaggle.patience=0.5"))
    assert time.monotonic() - start < 15
    assert "imed out" in said
    assert ("may have arrived" in said) == (method == "CreateSubmission") == bool(ledger(sandbox))


def test_a_slow_server_is_waited_for(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.delay = dict.fromkeys(("StartSubmissionUpload", "PUT", "CreateSubmission"), 0.7)
    succeeds(sandbox)


def test_network_down(sandbox: Sandbox, server: KaggleServer) -> None:
    server.stop()
    assert "cannot reach Kaggle" in fails(sandbox)


def test_a_page_instead_of_an_answer(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse["StartSubmissionUpload"] = (200, "")
    assert "log-in page" in fails(sandbox)


def test_a_file_that_kaggle_cannot_score(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.verdict = {"status": "ERROR", "errorDescription": "Evaluation failed: bad row 7"}
    assert "Evaluation failed: bad row 7" in one_line(sandbox.run(*SUBMIT))
    assert [row["status"] for row in ledger(sandbox)] == ["error"]


def test_a_late_score_is_fetched_without_sending_twice(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.pending_looks = 10**6
    assert "no score after" in one_line(sandbox.run(*SUBMIT, "wait=0.3"))
    assert [row["status"] for row in ledger(sandbox)] == ["pending"]
    server.state.pending_looks = 0
    succeeds(sandbox)
    assert [row["public"] for row in ledger(sandbox)] == ["0.42"]
    assert server.state.calls.count("CreateSubmission") == 1


def test_a_damaged_ledger_is_named_before_anything_is_sent(sandbox: Sandbox, server: KaggleServer) -> None:
    (sandbox.folder / "submissions/ledger.csv").write_text("what,is,this\n")
    assert "submissions/ledger.csv" in one_line(sandbox.run(*SUBMIT))
    assert server.state.calls == []


def test_the_same_bytes_are_sent_twice_only_when_told(sandbox: Sandbox, server: KaggleServer) -> None:
    succeeds(sandbox)
    (sandbox.folder / "submissions/other.csv").write_text(ENTRY)
    said = fails(sandbox, "submission=submissions/other.csv")
    assert "sent as submissions/x.csv" in said and "public 0.42" in said and "again=true" in said
    assert server.state.calls.count("CreateSubmission") == 1
    succeeds(sandbox, "again=true")
    assert [row["ref"] for row in ledger(sandbox)] == ["100", "101"]


def test_the_ledger_says_how_the_file_was_made(sandbox: Sandbox, server: KaggleServer) -> None:
    made = {
        "commit": "0123456789abcdef", "dirty": "yes", "command": "./run.sh submission tta=4",
        "members": "unet/cpu linknet/cpu", "weights": "0.3 0.7", "postprocess": "RemoveSmall(min_area=29)",
        "oof_nested": "0.51", "oof_tuned": "0.52",
    }  # fmt: skip
    sha256 = hashlib.sha256(ENTRY.encode()).hexdigest()
    write_json(sandbox.folder / "submissions/x.json", {"sha256": sha256, **made})
    done = sandbox.run(*SUBMIT)
    assert "made by code that differs from commit 01234567" in done.stderr
    (row,) = ledger(sandbox)
    assert {name: row[name] for name in made} == made and row["message"].startswith(
        "x 01234567 and changes ["
    )


def test_without_a_record_that_is_said(sandbox: Sandbox) -> None:
    assert "no record of how submissions/x.csv was made" in sandbox.run(*SUBMIT).stderr


def test_what_is_left_today_is_said_before_anything_is_sent(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.left = 2
    assert succeeds(sandbox).splitlines()[0] == "2 submissions left today"
    assert server.state.calls.index("GetSubmissionLimits") < server.state.calls.index("CreateSubmission")


CREATE = "CreateSubmission"


def sent_once(sandbox: Sandbox, server: KaggleServer) -> None:
    """Check that the file was sent once, that the ledger has its one row, and that the row has its score."""
    assert len(server.state.submissions) == 1
    assert [(r["ref"], r["status"], r["public"]) for r in ledger(sandbox)] == [("100", "complete", "0.42")]
    assert server.state.submissions[0]["description"] == ledger(sandbox)[0]["message"]


@pytest.mark.parametrize("method", ["StartSubmissionUpload", "PUT", CREATE, "ListSubmissions"])
def test_killed_at_any_step_it_goes_on_and_sends_once(
    sandbox: Sandbox, server: KaggleServer, method: str
) -> None:
    killed = []
    server.state.meanwhile[method] = lambda: killed.append(process.kill())
    process = sandbox.start(*SUBMIT)
    process.communicate(timeout=60)
    assert process.returncode == -9 and killed
    succeeds(sandbox)
    sent_once(sandbox, server)


def test_a_lost_answer_is_looked_up(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.lose = [CREATE]
    said = one_line(sandbox.run(*SUBMIT))
    assert "may have arrived" in said and "./run.sh submit" in said
    assert [row["status"] for row in ledger(sandbox)] == ["sending"]
    succeeds(sandbox)
    sent_once(sandbox, server)


def test_a_submission_that_kaggle_lists_late_is_waited_for(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.lose, server.state.late_looks = [CREATE], 2
    one_line(sandbox.run(*SUBMIT))
    succeeds(sandbox, "kaggle.patience=20")  # a busy machine spends the usual two seconds on its start
    sent_once(sandbox, server)


def test_a_request_that_did_not_arrive_is_sent_again(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse[CREATE] = (503, "")
    assert "may have arrived" in one_line(sandbox.run(*SUBMIT))
    server.state.refuse.clear()
    succeeds(sandbox)
    sent_once(sandbox, server)


@pytest.mark.parametrize(
    "answer", [{"ref": "100"}, {"ref": None}, {}, {"ref": 0}, {"ref": [1]}, {"ref": "soon"}]
)
def test_a_number_of_any_form(sandbox: Sandbox, server: KaggleServer, answer: dict[str, object]) -> None:
    server.state.ref = lambda number: answer
    succeeds(sandbox)
    sent_once(sandbox, server)


def test_an_answer_that_makes_no_sense_may_have_arrived(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse[CREATE] = (200, "")
    assert "log-in page" in one_line(sandbox.run(*SUBMIT))
    assert [row["status"] for row in ledger(sandbox)] == ["sending"]


def test_a_refused_submission_leaves_no_row(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.refuse[CREATE] = (400, "Submission limit exceeded")
    assert "daily limit" in fails(sandbox)
    assert ledger(sandbox) == []


def test_a_disk_that_fills_up_before_the_row(sandbox: Sandbox, server: KaggleServer) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    assert "nothing was sent" in one_line(sandbox.run(*SUBMIT, before=small_disk))
    assert server.state.submissions == []
    succeeds(sandbox)
    sent_once(sandbox, server)


def test_a_ledger_that_cannot_be_written_after_the_answer(sandbox: Sandbox, server: KaggleServer) -> None:
    folder, gone = sandbox.folder / "submissions", sandbox.folder / "gone"
    server.state.meanwhile[CREATE] = lambda: (folder.rename(gone), folder.touch())
    assert "submissions/x.csv was sent (number 100), but not written down" in one_line(sandbox.run(*SUBMIT))
    folder.unlink()
    gone.rename(folder)
    succeeds(sandbox)
    sent_once(sandbox, server)


def test_two_at_once_send_once(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.delay[CREATE] = 1.0
    processes = [sandbox.start(*SUBMIT) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes and all(
        code == 0 or "the same file was sent" in err for code, (_, err) in zip(codes, said, strict=True)
    )
    sent_once(sandbox, server)


def test_a_submission_that_is_far_down_the_list_is_found(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.lose, server.state.page_size = [CREATE], 2
    one_line(sandbox.run(*SUBMIT))
    server.state.submissions[:0] = [{"ref": 200 + n, "description": "x"} for n in range(5)]
    succeeds(sandbox)
    assert ledger(sandbox)[0]["ref"] == "100" and server.state.calls.count(CREATE) == 1


def test_kaggle_says_how_long_to_wait(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.retry_after = {CREATE: 1, "StartSubmissionUpload": 1}
    start = time.monotonic()
    succeeds(sandbox)
    assert time.monotonic() - start > 2
    sent_once(sandbox, server)


def test_a_long_wait_is_the_users_choice(sandbox: Sandbox, server: KaggleServer) -> None:
    server.state.retry_after = {"StartSubmissionUpload": 7200}
    assert "try again in 7200 s" in fails(sandbox)
