"""Jobs: how they are driven, cancelled and timed; and the errors that leave them."""

import time

import pytest

from ppcmi_sf import errors
from ppcmi_sf.progress import Eta, Progress, retold, run


def job(log, steps=3):
    try:
        for number in range(steps):
            yield Progress(number, steps, f"step {number}")
    finally:
        log.append("closed")
    return "result"


def test_run_reports_every_step_and_returns_the_result():
    log, seen = [], []
    assert run(job(log), seen.append) == "result"
    assert [(step.done, step.total) for step in seen] == [(0, 3), (1, 3), (2, 3)]
    assert log == ["closed"]


def test_an_interrupted_listener_closes_the_job():
    log = []

    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job(log), interrupt)
    assert log == ["closed"]


def test_a_job_within_another_is_told_in_its_words_and_gives_its_result():
    log, seen = [], []

    def tell(step):
        return Progress(step.done + 3, 6, f"second half, {step.message}")

    assert run(retold(job(log), tell), seen.append) == "result"
    assert [(step.done, step.total) for step in seen] == [(3, 6), (4, 6), (5, 6)]
    assert seen[0].message == "second half, step 0"
    assert log == ["closed"]


def test_a_job_within_another_is_closed_with_it():
    log = []
    outer = retold(job(log), lambda step: step)
    next(outer)
    assert log == []
    outer.close()
    assert log == ["closed"]


def test_fraction():
    assert Progress(1, 4, "").fraction == 0.25
    assert Progress(0, 0, "").fraction == 1.0


def test_eta_counts_from_where_it_started():
    eta = Eta()
    assert eta.seconds_left(Progress(50, 100, "resumed")) is None
    assert eta.seconds_left(Progress(50, 100, "nothing yet")) is None
    time.sleep(0.05)
    left = eta.seconds_left(Progress(60, 100, "ten done"))
    assert 0.19 < left < 2  # 0.05 s for ten, forty to go


def test_eta_of_a_resumed_training_does_not_count_the_checks_before_it():
    eta = Eta()
    for done in range(3):
        eta.seconds_left(Progress(done, 3, "checking"))
    assert eta.seconds_left(Progress(90, 100, "training: starting")) is None
    time.sleep(0.05)
    left = eta.seconds_left(Progress(91, 100, "training"))
    assert left > 0.4  # 0.05 s for one, nine to go


def test_errors_say_what_and_what_next():
    error = errors.InputFileError("a/b.png", "not an image.", hint="Use another.")
    assert str(error) == "a/b.png: not an image. Use another."
    assert isinstance(error, errors.PPCMIError)
    partial = errors.PartialFailure([("x", error)], done=3)
    assert "1 of 4" in str(partial)


def test_every_error_has_an_exit_code_of_its_family():
    codes = {kind.__name__: kind.exit_code for kind in errors.PPCMIError.__subclasses__()}
    assert codes == {
        "InputFileError": 3,
        "StudyError": 4,
        "KeyFileError": 4,
        "ContactError": 4,
        "BundleError": 5,
        "ModelFileError": 5,
        "TrainingError": 6,
        "ResourceError": 7,
        "PartialFailure": 1,
    }
    assert {kind.exit_code for kind in errors.BundleError.__subclasses__()} == {5}
