"""Cross-fitting: the truth of a patient of the training is no better known than another's."""

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.item_losses import mapping_losses
from ppcmi_sf.audit.statistics import auc
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import run
from ppcmi_sf.training.cross_fit import fold_checkpoints, train_cross_fitted
from ppcmi_sf.training.fit_options import CROSS_FIT_FOLDS, FitOptions
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping

CPU = torch.device("cpu")
PATIENTS, SLICES = 12, 2


def made_up(study, seed, parts=None):
    """Masks that follow from images in part, and in part are each patient's own."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = {}, {}
    for scale in study.scales:
        images = torch.randn(PATIENTS, *scale.shape, generator=generator)
        own = torch.randn(PATIENTS, *scale.shape, generator=generator)
        inputs[scale.name] = images.repeat_interleave(SLICES, 0)
        targets[scale.name] = (0.5 * images.flip(1) + own).repeat_interleave(SLICES, 0)
    flags = np.zeros(PATIENTS * SLICES, np.bool_)
    if parts is not None:
        parts = np.repeat(np.arange(PATIENTS) % parts, SLICES)
    return SitePairs(LatentPyramid(inputs), LatentPyramid(targets), flags, parts)


@pytest.fixture
def study(make_study):
    return make_study(size=(32, 32))


OPTIONS = MappingOptions(fit=FitOptions(epochs=10, batch_size=8, learning_rate=3e-3), cut_mix=0.0)


def advantage(network, members, others):
    """AUC of the loss threshold: how well it is told who was in the training."""
    inside, outside = (run(mapping_losses(network, "a", one, CPU)) for one in (members, others))
    return auc(-inside, -outside)


@pytest.mark.slow
def test_it_does_not_learn_the_members_truth_by_heart(study):
    members, others = made_up(study, 0, CROSS_FIT_FOLDS), made_up(study, 1)
    plain, _ = run(train_mapping(study, {"a": members}, OPTIONS, device=CPU))
    fitted, _ = run(train_cross_fitted(study, {"a": members}, OPTIONS, device=CPU))
    assert advantage(plain, members, others) > 0.95
    assert 0.3 < advantage(fitted, members, others) < 0.7


def test_truth_stays_with_who_gave_it(study):
    members = made_up(study, 0, 2)
    before = members.targets.map(torch.clone)
    short = MappingOptions(fit=FitOptions(epochs=1, batch_size=8))
    seen = []
    run(train_cross_fitted(study, {"a": members}, short, device=CPU), seen.append)
    assert all(torch.equal(members.targets[name], before[name]) for name in before)
    shares = [step.fraction for step in seen]
    assert shares == sorted(shares)
    messages = " ".join(step.message for step in seen)
    assert "Without part 2 of 3" in messages
    assert "Without part 3 of 3" not in messages  # the patients came in two parts
    assert "Learning what they answer" in messages


@pytest.mark.parametrize("parts", [None, 1])
def test_patients_in_one_bundle_cannot_be_left_out(study, parts):
    pairs = {"a": made_up(study, 0, 3), "b": made_up(study, 1, parts)}
    with pytest.raises(TrainingError, match="of site 'b' came in one bundle") as caught:
        run(train_cross_fitted(study, pairs, OPTIONS, device=CPU))
    assert "--parts 3" in caught.value.hint


def test_a_stopped_training_goes_on_to_the_same_network(study, tmp_path):
    members = {"a": made_up(study, 0, CROSS_FIT_FOLDS)}
    options = MappingOptions(fit=FitOptions(epochs=2, batch_size=8))
    checkpoint = tmp_path / ".mapping_network.checkpoint.safetensors"

    def train():
        return train_cross_fitted(
            study, members, options, device=CPU, checkpoint=checkpoint, signature="s"
        )

    whole, _ = run(train())
    for path in tmp_path.iterdir():
        path.unlink()
    job = train()
    while "Without part 3" not in next(job).message:
        pass
    job.close()
    assert fold_checkpoints(checkpoint)[1].is_file()
    assert not checkpoint.exists()
    steps = []
    resumed, _ = run(train(), steps.append)
    assert not any("training" in s.message and "Without part 1" in s.message for s in steps[1:])
    for name, value in whole.state_dict().items():
        assert torch.allclose(value.float(), resumed.state_dict()[name].float(), atol=1e-5), name
