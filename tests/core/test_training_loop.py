"""The training loop: seeded, resumable after a kill at any moment, cancellable, honest."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ppcmi_sf.device import require_memory
from ppcmi_sf.errors import ResourceError, TrainingError
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import run
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.loop import fit

CPU = torch.device("cpu")
EPOCHS = 4


class Line:
    """Fits y = 2x with a linear layer; everything about it can be set."""

    name = "Line"

    def __init__(self, batches=3, validation=(), explode_at=None, validation_losses=None):
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.batches, self.validation, self.explode_at = batches, validation, explode_at
        self.planned = iter(validation_losses or ())
        self.weights = []  # at every validation

    def steps(self):
        return self.batches

    def train_batches(self, epoch):
        rng = np.random.default_rng(epoch)
        for _ in range(self.batches):
            yield torch.from_numpy(rng.normal(size=(8, 1)).astype(np.float32))

    def validation_batches(self):
        return iter(self.validation)

    def loss(self, batch):
        if not self.model.training:
            self.weights.append(self.model.weight.detach().clone())
            return torch.tensor(next(self.planned))
        loss = (self.model(batch) - 2 * batch).square().mean()
        return loss * math.nan if self.explode_at == "training" else loss


def small_data(ellipses, count=6) -> SiteData:
    images, masks = ellipses(5, count + 2, size=(32, 32))
    every = (images[:, None] / 255).astype(np.float16), masks
    names = tuple(f"c{index}" for index in range(count + 2))
    return SiteData(
        GridSlices(every[0][:count], every[1][:count], names[:count]),
        GridSlices(every[0][count:], every[1][count:], names[count:]),
    )


OPTIONS = AutoencoderOptions(fit=FitOptions(epochs=EPOCHS, batch_size=2, seed=7))


def training(study, data, checkpoint=None, options=OPTIONS, signature="s", role="mask"):
    return train_autoencoder(
        study, role, data, options, device=CPU, checkpoint=checkpoint, signature=signature
    )


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(size=(32, 32))


@pytest.fixture(scope="module")
def data(ellipses):
    return small_data(ellipses)


@pytest.fixture(scope="module")
def unbroken(study, data):
    return run(training(study, data))


def assert_same(result, expected):
    model, report = result
    assert report.epochs == expected[1].epochs
    np.testing.assert_allclose(report.train_losses, expected[1].train_losses, atol=1e-5)
    np.testing.assert_allclose(report.validation_losses, expected[1].validation_losses, atol=1e-5)
    wanted = expected[0].state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, wanted[name], atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_result(study, data, unbroken):
    torch.manual_seed(1234)  # the state of the global generator is nobody's business
    np.random.seed(99)
    assert_same(run(training(study, data)), unbroken)


def test_another_seed_gives_another_result(study, data, unbroken):
    options = AutoencoderOptions(fit=FitOptions(epochs=1, batch_size=2, seed=8))
    other, _ = run(training(study, data, options=options))
    assert not torch.allclose(
        other.encoder.stages[0][0][0][0].weight, unbroken[0].encoder.stages[0][0][0][0].weight
    )


def test_training_leaves_the_global_generator_alone(study, data):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    job = training(study, data)
    next(job)
    job.close()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 9, 13, 16])
def test_a_cancelled_training_goes_on_to_the_same_result(steps, study, data, unbroken, tmp_path):
    checkpoint = tmp_path / ".mask.checkpoint.safetensors"
    job = training(study, data, checkpoint)
    for _ in range(steps):
        next(job)
    job.close()
    # Three batches and a validation an epoch: the first checkpoint is there after five steps.
    assert [item.name for item in tmp_path.iterdir()] == ([checkpoint.name] if steps > 5 else [])
    resumed = training(study, data, checkpoint)
    first = next(resumed)
    assert first.done == 3 * ((steps - 2) // 4 if steps > 5 else 0)
    assert_same(run(resumed), unbroken)


KILLED = textwrap.dedent(
    """
    import importlib.util, sys
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("conftest", Path(sys.argv[1]) / "conftest.py")
    conftest = importlib.util.module_from_spec(spec)
    sys.modules["conftest"] = conftest
    spec.loader.exec_module(conftest)
    spec = importlib.util.spec_from_file_location(
        "loop", Path(sys.argv[1]) / "test_training_loop.py"
    )
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    study = conftest.small_study(size=(32, 32))
    data = loop.small_data(conftest.draw_ellipses)
    for step in loop.training(study, data, Path(sys.argv[2])):
        print(step.done, flush=True)
    """
)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_training_goes_on_to_the_same_result(study, data, unbroken, tmp_path):
    checkpoint = tmp_path / ".mask.checkpoint.safetensors"
    arguments = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(checkpoint)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, encoding="utf-8") as process:
        for line in process.stdout:
            if int(line) == 7:  # in the third epoch
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert checkpoint.is_file()
    resumed = training(study, data, checkpoint)
    assert next(resumed).done >= 6
    assert_same(run(resumed), unbroken)


def test_a_finished_training_is_not_done_again(study, data, unbroken, tmp_path):
    checkpoint = tmp_path / "c"
    run(training(study, data, checkpoint))
    again = training(study, data, checkpoint)
    steps = list(iter(lambda: next(again, None), None))
    assert len(steps) == 1
    assert_same(run(training(study, data, checkpoint)), unbroken)


def damage(data: bytes) -> dict[str, bytes]:
    middle = len(data) // 2
    flipped = bytearray(data)
    flipped[middle] ^= 0x40
    report = data.replace(b'epochs\\"', b'epocht\\"', 1)
    renamed = data.replace(b'optimizer.3.exp_avg"', b'optimizer.3.exp_avh"', 1)
    assert report != data
    assert renamed != data
    return {
        "empty": b"",
        "truncated": data[:middle],
        "one bit": bytes(flipped),
        "report": report,
        "optimizer": renamed,
        "text": b"not a checkpoint",
    }


@pytest.fixture(scope="module")
def checkpoint_bytes(study, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "c"
    job = training(study, data, path)
    for _ in range(7):
        next(job)
    job.close()
    return path.read_bytes()


@pytest.mark.parametrize("how", ["empty", "truncated", "one bit", "report", "optimizer", "text"])
def test_a_damaged_checkpoint_is_ignored(how, study, data, unbroken, checkpoint_bytes, tmp_path):
    checkpoint = tmp_path / "c"
    checkpoint.write_bytes(damage(checkpoint_bytes)[how])
    resumed = training(study, data, checkpoint)
    assert next(resumed).done == 0
    assert_same(run(resumed), unbroken)


def test_a_checkpoint_of_another_signature_is_ignored(study, data, checkpoint_bytes, tmp_path):
    checkpoint = tmp_path / "c"
    for signature, done in (("other", 0), ("s", 3)):
        checkpoint.write_bytes(checkpoint_bytes)
        job = training(study, data, checkpoint, signature=signature)
        assert next(job).done == done
        job.close()


def test_time_between_two_steps_is_short(study, data):
    job, longest, last = training(study, data), 0.0, time.monotonic()
    next(job)
    for _ in job:
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 2


def test_progress_counts_up_to_its_total(study, data):
    steps = list(training(study, data))
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, steps[0].total)
    assert {step.total for step in steps} == {3 * EPOCHS}
    assert steps[-1].values["epoch"] == EPOCHS
    assert steps[-1].values["loss"] > 0
    assert "Mask autoencoder" in steps[0].message


def test_the_losses_of_every_epoch_are_told_the_last_one_too():
    job, steps = fit(Line(validation=[0], validation_losses=range(9, 0, -1)), FitOptions(9)), []
    try:
        while True:
            steps.append(next(job))
    except StopIteration as stop:
        report = stop.value
    told = {step.values["epoch"]: step.values for step in steps if step.values}
    assert list(told) == list(range(1, 10))
    assert [values["loss"] for values in told.values()] == report.train_losses
    assert [values["validation_loss"] for values in told.values()] == report.validation_losses
    assert (steps[-1].done, steps[-1].message) == (27, "Line: training, epoch 9 of 9")


def test_the_losses_of_the_epoch_that_ends_a_training_early_are_told():
    task = Line(validation=[0], validation_losses=[5.0, 6.0, 7.0])
    steps = list(fit(task, FitOptions(epochs=20, patience=2)))
    assert (steps[-1].values["epoch"], steps[-1].values["validation_loss"]) == (3, 7.0)
    done = [step.done for step in steps]
    assert done == sorted(done) and done[-1] == 9


def test_early_stopping_keeps_the_best_weights():
    task = Line(validation=[0], validation_losses=[5.0, 3.0, 4.0, 3.5, 9.0, 1.0])
    report = run(fit(task, FitOptions(epochs=20, patience=3, learning_rate=0.1)))
    assert (report.epochs, report.best_epoch, report.best_loss) == (5, 2, 3.0)
    assert (report.kept_epoch, report.kept_loss) == (2, 3.0)
    assert torch.equal(task.model.weight, task.weights[1])
    assert not torch.equal(task.weights[1], task.weights[-1])
    assert not task.model.training


def test_without_patience_the_last_weights_are_kept_and_nothing_stops_early():
    task = Line(validation=[0], validation_losses=[5.0, 3.0, *(4.0 + n for n in range(8))])
    report = run(fit(task, FitOptions(epochs=10, learning_rate=0.1)))
    assert (report.epochs, report.kept_epoch, report.kept_loss) == (10, 10, 11.0)
    assert (report.best_epoch, report.best_loss) == (2, 3.0)
    assert torch.equal(task.model.weight, task.weights[-1])
    assert not torch.equal(task.weights[1], task.weights[-1])


def test_without_validation_the_last_weights_are_kept():
    task = Line()
    report = run(fit(task, FitOptions(epochs=30, patience=2, learning_rate=0.1)))
    assert (report.epochs, report.kept_epoch, report.kept_loss) == (30, 30, None)
    assert report.validation_losses == []
    assert abs(float(task.model.weight.detach()) - 2) < 0.2


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(TrainingError, match="not a finite number") as caught:
        run(fit(Line(explode_at="training"), FitOptions(epochs=2)))
    assert "learning rate" in caught.value.hint


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_loss_that_is_no_number_stops_the_training(value):
    task = Line(validation=[0], validation_losses=[value] * 9)
    with pytest.raises(TrainingError, match="not a finite number"):
        run(fit(task, FitOptions(epochs=2)))


def test_nothing_to_train_on():
    with pytest.raises(TrainingError, match="nothing to train on") as caught:
        run(fit(Line(batches=0), FitOptions()))
    assert caught.value.hint


def test_a_single_pixel_of_latents_is_too_little(study, ellipses):
    with pytest.raises(TrainingError, match="too little"):
        run(training(study, small_data(ellipses, count=1)))


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"seed": -1},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(TrainingError) as caught:
        FitOptions(**bad)
    assert caught.value.hint


def test_a_training_that_will_not_fit_is_refused_with_numbers(study, data, make_study):
    with pytest.raises(ResourceError) as caught:
        require_memory(2**60, CPU, "Training the image autoencoder")
    assert "needs about 1073741824.0 GiB" in caught.value.message
    assert "GiB are free on cpu" in caught.value.message
    assert caught.value.hint
    huge = AutoencoderOptions(fit=FitOptions(batch_size=10**8))
    with pytest.raises(ResourceError, match="Training the mask autoencoder needs about"):
        run(training(study, data, options=huge))


def test_a_full_disk_stops_the_training_and_leaves_no_temporary_file(study, data, tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(ResourceError):
        run(training(study, data, tmp_path / "file" / "c"))
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_the_result_is_ready_for_use(unbroken):
    model, report = unbroken
    assert isinstance(model, Autoencoder)
    assert not model.training
    assert report.best_loss == min(report.validation_losses)
