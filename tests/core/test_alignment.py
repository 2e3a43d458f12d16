"""Decoder alignment: the decoder learns to read what the mapping network really writes."""

import numpy as np
import pytest
import torch

from ppcmi_sf.errors import TrainingError
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import run
from ppcmi_sf.training.alignment import AlignmentOptions, AlignmentPairs, align_decoder
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def masks(ellipses):
    return ellipses(0, 24)[1]


@pytest.fixture(scope="module")
def autoencoder(masks, make_study):
    images = np.zeros((len(masks), 1, 64, 64), np.float16)
    names = tuple(str(index) for index in range(len(masks)))
    data = SiteData(
        GridSlices(images[:18], masks[:18], names[:18]),
        GridSlices(images[18:], masks[18:], names[18:]),
    )
    options = AutoencoderOptions(
        fit=FitOptions(epochs=12, batch_size=6, learning_rate=8e-3), augment=False
    )
    return run(train_autoencoder(make_study(), "mask", data, options, device=CPU))[0]


def faulty_pairs(autoencoder: Autoencoder, masks) -> AlignmentPairs:
    """What a mapping network might write: latents that are fainter than they should be."""
    with torch.no_grad():
        latents = autoencoder.encode(one_hot(torch.from_numpy(masks), 2))
    validation = np.arange(len(masks)) >= 18
    return AlignmentPairs(latents.map(lambda v: 0.4 * v - 0.3).to(torch.float16), masks, validation)


def dice(autoencoder: Autoencoder, pairs: AlignmentPairs) -> float:
    chosen = torch.from_numpy(np.flatnonzero(pairs.validation))
    with torch.inference_mode():
        found = autoencoder.decode(pairs.mapped.items_at(chosen).to(torch.float32)).argmax(1)
    truth = torch.from_numpy(pairs.masks)[chosen]
    return float(2 * ((found == 1) & (truth == 1)).sum() / ((found == 1).sum() + truth.sum()))


def options(**fields) -> AlignmentOptions:
    wanted = {"epochs": 8, "batch_size": 6, "learning_rate": 3e-3} | fields
    return AlignmentOptions(fit=FitOptions(**wanted))


def test_it_reads_faulty_latents_better_and_leaves_the_encoder(autoencoder, masks, make_study):
    pairs = faulty_pairs(autoencoder, masks)
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    aligned, report = run(align_decoder(make_study(), autoencoder, pairs, options(), device=CPU))
    assert dice(aligned, pairs) > dice(autoencoder, pairs) + 0.05
    assert report.epochs == 8
    assert len(report.validation_losses) == 8
    for name, value in before.items():
        assert torch.equal(value, autoencoder.state_dict()[name]), "the given one was changed"
        if name.startswith("encoder."):
            assert torch.equal(value, aligned.state_dict()[name])
    assert not aligned.training


def test_same_seed_same_decoder(autoencoder, masks, make_study):
    pairs = faulty_pairs(autoencoder, masks)
    first, second = (
        run(align_decoder(make_study(), autoencoder, pairs, options(epochs=2), device=CPU))[0]
        for _ in range(2)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_it_goes_on_from_a_checkpoint(autoencoder, masks, make_study, tmp_path):
    pairs, path = faulty_pairs(autoencoder, masks), tmp_path / "c"
    where = {"device": CPU, "checkpoint": path, "signature": "s"}
    job = align_decoder(make_study(), autoencoder, pairs, options(epochs=3), **where)
    for _ in range(6):
        next(job)
    job.close()
    assert path.is_file()
    resumed = run(align_decoder(make_study(), autoencoder, pairs, options(epochs=3), **where))
    unbroken = run(align_decoder(make_study(), autoencoder, pairs, options(epochs=3), device=CPU))
    assert resumed[1] == unbroken[1]
    for name, value in unbroken[0].state_dict().items():
        assert torch.equal(value, resumed[0].state_dict()[name])


def test_nothing_to_align_on(autoencoder, masks, make_study):
    pairs = faulty_pairs(autoencoder, masks)
    apart = AlignmentPairs(pairs.mapped, pairs.masks, np.ones(len(masks), np.bool_))
    with pytest.raises(TrainingError, match="all are set apart") as caught:
        run(align_decoder(make_study(), autoencoder, apart, options(), device=CPU))
    assert caught.value.hint
