"""What comes back of a site's masks, and the warning when it is too little."""

import numpy as np
import pytest
import torch

from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import Progress, run
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fidelity_words import weak_classes
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.pooled_dice import mask_fidelity, pooled_dice
from ppcmi_sf.training.slice_batches import SliceBatches

CPU = torch.device("cpu")
FIT = FitOptions(epochs=60, batch_size=4, seed=0)


@pytest.fixture(scope="module")
def study():
    return StudySpec(
        name="squares",
        modality="MR",
        classes=make_classes(["head", "cavity"]),
        image_size=(32, 32),
        autoencoder="small",
    )


def squares(count: int, label: int) -> GridSlices:
    """Class 1 to the left of a line that moves, and nothing else."""
    masks = np.zeros((count, 32, 32), np.uint8)
    for index in range(count):
        masks[index, 4:28, 4 : 14 + index] = label
    return GridSlices((masks[:, None] / 2).astype(np.float16), masks, ("case",) * count)


@pytest.fixture(scope="module")
def data():
    return SiteData(squares(6, 1), squares(2, 1))


def pooled(study, found: list[np.ndarray], true: list[np.ndarray]):
    tensors = [[torch.from_numpy(mask) for mask in masks] for masks in (found, true)]
    scores = [one_hot(mask, study.class_count) for mask in tensors[0]]
    batches = [
        (score, one_hot(mask, study.class_count))
        for score, mask in zip(scores, tensors[1], strict=True)
    ]
    return run(
        pooled_dice(study, lambda batch: batch[0], iter(batches), lambda n: Progress(n, 9, "x"))
    )


def test_dice_is_pooled_over_all_slices(study):
    found, true = np.zeros((2, 1, 8, 8), np.uint8), np.zeros((2, 1, 8, 8), np.uint8)
    true[0, 0, :4], found[0, 0, :2] = 1, 1  # 16 of 32 pixels
    true[1, 0, :1], found[1, 0, :2] = 1, 1  # 8 pixels, and 8 more
    dice = pooled(study, list(found), list(true))
    assert dice == {"head": pytest.approx(2 * (16 + 8) / (32 + 8 + 16 + 16))}


def test_a_class_that_is_missed_altogether_counts_0(study):
    true = np.full((1, 8, 8), 2, np.uint8)
    assert pooled(study, [np.zeros_like(true)], [true]) == {"cavity": 0.0}


def test_a_mask_autoencoder_that_has_learned_nothing_is_found_out(study, data):
    slices = SliceBatches(study, data, FIT, CPU, augment=False)
    torch.manual_seed(0)
    untrained = run(mask_fidelity(study, Autoencoder(study, "mask").eval(), slices))
    assert weak_classes(untrained) == list(untrained) != []
    options = AutoencoderOptions(fit=FIT, augment=False, latent_noise=0.0)
    trained, _ = run(train_autoencoder(study, "mask", data, options, device=CPU))
    dice = run(mask_fidelity(study, trained, slices))
    assert dice["head"] > 0.9
    assert weak_classes(dice) == []


def test_progress_is_of_all_slices(study, data):
    slices = SliceBatches(study, data, FIT, CPU, augment=False)
    steps = list(mask_fidelity(study, Autoencoder(study, "mask").eval(), slices))
    assert [(step.done, step.total) for step in steps] == [(0, 8), (4, 8), (6, 8)]
