"""Autoencoders: shapes of every preset, probabilities, and that they learn."""

import math

import numpy as np
import pytest
import torch

from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import run
from ppcmi_sf.training.autoencoders import (
    AutoencoderOptions,
    AutoencoderTask,
    train_autoencoder,
)
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.losses import mask_loss

CPU = torch.device("cpu")


@pytest.mark.parametrize("preset", ["fine", "ppcmi-sf", "small"])
@pytest.mark.parametrize("use_skips", [True, False])
@pytest.mark.parametrize("role", ["image", "mask"])
def test_shapes(preset, use_skips, role, make_study):
    study = make_study(
        size=(32, 96), classes=4, channels=3, autoencoder=preset, use_skips=use_skips
    )
    channels = 3 if role == "image" else 4
    model = Autoencoder(study, role).eval()
    images = torch.rand(2, channels, 32, 96)
    with torch.inference_mode():
        pyramid = model.encode(images)
        decoded = model.decode(pyramid)
        logits = model(images)
    assert pyramid.matches(study.scales)
    assert len(pyramid) == (3 if use_skips else 1)
    assert decoded.shape == logits.shape == images.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1
    activation = torch.sigmoid(logits) if role == "image" else torch.softmax(logits, 1)
    torch.testing.assert_close(decoded, activation)
    if role == "mask":
        torch.testing.assert_close(decoded.sum(1), torch.ones(2, 32, 96))


PYRAMIDS = {
    "ppcmi-sf": {"skip3": (64, 32, 32), "skip4": (128, 16, 16), "bottleneck": (256, 8, 8)},
    "fine": {"skip2": (16, 64, 64), "skip3": (32, 32, 32), "bottleneck": (64, 16, 16)},
    "small": {"skip3": (32, 32, 32), "skip4": (48, 16, 16), "bottleneck": (64, 8, 8)},
}


@pytest.mark.parametrize("preset", PYRAMIDS)
def test_the_pyramid_of_each_preset(preset, make_study):
    study = make_study(size=(256, 256), autoencoder=preset)
    with torch.inference_mode():
        pyramid = Autoencoder(study, "image").eval().encode(torch.rand(1, 1, 256, 256))
    assert {name: tuple(value.shape[1:]) for name, value in pyramid.items()} == PYRAMIDS[preset]


def test_the_fine_preset_sends_as_many_values_as_the_paper_s():
    sizes = {
        preset: sum(math.prod(shape) for shape in shapes.values())
        for preset, shapes in PYRAMIDS.items()
    }
    assert sizes["fine"] == sizes["ppcmi-sf"]


@pytest.mark.parametrize(
    ("preset", "scale"), [(preset, scale) for preset in PYRAMIDS for scale in PYRAMIDS[preset]]
)
def test_the_decoder_reads_every_scale(preset, scale, make_study):
    study = make_study(autoencoder=preset)
    model = Autoencoder(study, "mask").eval()
    with torch.inference_mode():
        pyramid = model.encode(torch.rand(1, 2, 64, 64))
        changed = dict(pyramid) | {scale: pyramid[scale] + 1}
        difference = model.decode(type(pyramid)(changed)) - model.decode(pyramid)
    assert difference.abs().max() > 1e-5


def test_latents_are_taken_before_the_activation(make_study):
    study = make_study()
    with torch.inference_mode():
        pyramid = Autoencoder(study, "image").encode(torch.rand(4, 1, 64, 64))
    assert all(value.min() < 0 < value.max() for value in pyramid.values())


def test_one_hot():
    labels = torch.tensor([[[0, 2], [1, 1]]], dtype=torch.uint8)
    encoded = one_hot(labels, 3)
    assert encoded.shape == (1, 3, 2, 2)
    assert encoded.dtype == torch.float32
    assert torch.equal(encoded.argmax(1), labels.long())
    torch.testing.assert_close(encoded.sum(1), torch.ones(1, 2, 2))


def site_data(ellipses, count=12, classes=3):
    images, masks = ellipses(5, count, classes=classes)
    slices = GridSlices(
        (images[:, None] / 255).astype(np.float16), masks, tuple(f"c{i}" for i in range(count))
    )
    none = GridSlices(slices.images[:0], slices.masks[:0], ())
    return SiteData(slices, none)


def dice_per_class(found, truth, classes):
    return [
        2
        * float(((found == k) & (truth == k)).sum())
        / float((found == k).sum() + (truth == k).sum())
        for k in range(1, classes)
    ]


def reconstruct(model, masks, classes):
    labels = torch.from_numpy(masks)
    with torch.inference_mode():
        return model.decode(model.encode(one_hot(labels, classes))).argmax(1).numpy()


def test_a_small_mask_autoencoder_learns(make_study, ellipses):
    study, data = make_study(classes=3), site_data(ellipses, count=8)
    options = AutoencoderOptions(
        fit=FitOptions(epochs=60, batch_size=3, learning_rate=6e-3),
        augment=False,
        latent_noise=0.0,
    )
    model, report = run(train_autoencoder(study, "mask", data, options, device=CPU))
    assert report.epochs == 60
    assert report.train_losses[-1] < 0.5 * report.train_losses[0]
    masks = data.training.masks
    scores = dice_per_class(reconstruct(model, masks, 3), masks, 3)
    assert min(scores) > 0.9, scores


def test_the_paper_s_mask_loss_trains(make_study, ellipses):
    study, data = make_study(), site_data(ellipses, classes=2)
    options = AutoencoderOptions(
        fit=FitOptions(epochs=20, batch_size=4, learning_rate=6e-3),
        mask_loss="bce-dice",
        augment=False,
        latent_noise=0.0,
    )
    model, report = run(train_autoencoder(study, "mask", data, options, device=CPU))
    assert report.train_losses[-1] < 0.7 * report.train_losses[0]
    masks = data.training.masks
    assert min(dice_per_class(reconstruct(model, masks, 2), masks, 2)) > 0.9


def test_an_image_autoencoder_learns(make_study, ellipses):
    study, data = make_study(), site_data(ellipses, classes=2)
    options = AutoencoderOptions(
        fit=FitOptions(epochs=30, batch_size=4, learning_rate=6e-3), augment=False
    )
    model, _ = run(train_autoencoder(study, "image", data, options, device=CPU))
    images = torch.from_numpy(data.training.images.astype(np.float32))
    with torch.inference_mode():
        error = (model.decode(model.encode(images)) - images).square().mean()
    assert error < 0.3 * images.var()


def test_batches_depend_on_seed_and_epoch_alone(make_study, ellipses):
    study, data = make_study(), site_data(ellipses, count=5, classes=2)

    def batches(seed, epoch):
        options = AutoencoderOptions(fit=FitOptions(batch_size=2, seed=seed))
        task = AutoencoderTask(study, "image", data, options, CPU)
        return torch.cat([values for values, _ in task.train_batches(epoch)])

    same = batches(1, 2)
    assert same.shape == (5, 1, 64, 64)
    assert torch.equal(batches(1, 2), same)
    assert not torch.equal(batches(1, 3), same)
    assert not torch.equal(batches(2, 2), same)


def test_a_guide_changes_what_the_image_latents_are_trained_for(make_study, ellipses):
    """The guide's loss falls, and its gradient reaches the encoder."""
    study, data = make_study(), site_data(ellipses, count=12, classes=2)
    options = AutoencoderOptions(fit=FitOptions(epochs=15, batch_size=6), augment=False)
    task = AutoencoderTask(study, "image", data, options, CPU)
    guide = task.model.reader
    values, masks = next(iter(task.train_batches(0)))
    task.model.train()
    mask_loss("dice-ce")(guide(task.autoencoder.encode(values)), masks).backward()
    first = task.autoencoder.encoder.stages[0][0][0][0].weight.grad
    assert first.abs().max() > 0

    model, report = run(train_autoencoder(study, "image", data, options, device=CPU))
    assert isinstance(model, Autoencoder)  # the guide is thrown away
    assert report.train_losses[-1] < 0.5 * report.train_losses[0]
    plain = AutoencoderOptions(fit=options.fit, augment=False, guidance=0.0)
    other, _ = run(train_autoencoder(study, "image", data, plain, device=CPU))
    assert not torch.equal(
        model.encoder.stages[0][0][0][0].weight, other.encoder.stages[0][0][0][0].weight
    )


@pytest.mark.parametrize(("preset", "guided"), [("fine", False), ("ppcmi-sf", True)])
def test_only_the_paper_s_scales_need_a_guide(preset, guided, make_study, ellipses):
    study, data = make_study(autoencoder=preset), site_data(ellipses, count=4, classes=2)
    options = AutoencoderOptions(fit=FitOptions(batch_size=4))
    task = AutoencoderTask(study, "image", data, options, CPU)
    assert hasattr(task.model, "reader") == guided == (options.guidance_for(study) > 0)
    told = AutoencoderOptions(fit=options.fit, guidance=0.0 if guided else 1.0)
    assert hasattr(AutoencoderTask(study, "image", data, told, CPU).model, "reader") != guided


def test_the_guide_is_for_images_alone(make_study, ellipses):
    study, data = make_study(), site_data(ellipses, count=4, classes=2)
    fitting = FitOptions(batch_size=4)
    sizes = {
        (role, guidance): sum(
            value.numel()
            for value in AutoencoderTask(
                study, role, data, AutoencoderOptions(fit=fitting, guidance=guidance), CPU
            ).model.parameters()
        )
        for role in ("image", "mask")
        for guidance in (0.0, 1.0)
    }
    assert sizes["mask", 0.0] == sizes["mask", 1.0]
    assert sizes["image", 0.0] < sizes["image", 1.0]


def test_noise_is_for_mask_training_alone(make_study, ellipses):
    study, data = make_study(), site_data(ellipses, count=4, classes=2)
    for role, training, noisy in (
        ("mask", True, True),
        ("mask", False, False),
        ("image", True, False),
    ):
        options = AutoencoderOptions(fit=FitOptions(batch_size=4), augment=False)
        task = AutoencoderTask(study, role, data, options, CPU)
        task.model.train(training)
        batch = next(iter(task.train_batches(0)))
        with torch.no_grad():
            losses = {round(float(task.loss(batch)), 7) for _ in range(3)}
        assert (len(losses) > 1) == noisy
