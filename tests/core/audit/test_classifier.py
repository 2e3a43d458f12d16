"""The attacker's classifier, and that patients do not leak between folds."""

import numpy as np
import torch

from ppcmi_sf.audit.classifier import cross_predict, predict
from ppcmi_sf.progress import run

GROUPS = np.repeat(np.arange(20), 3)


def features(seed, shift=0.0, labels=None, width=50):
    values = np.random.default_rng(seed).normal(size=(60, width))
    if labels is not None:
        values[:, 0] += shift * labels
    return torch.from_numpy(values)


def by_patient(seed):
    return np.isin(GROUPS, np.random.default_rng(seed).permutation(20)[:10])


def test_what_is_there_is_found_and_the_right_kind_chosen():
    labels = by_patient(0)
    kinds = {"noise": features(1), "telling": features(2, 8, labels, 8), "more": features(3)}
    guesses = run(cross_predict(kinds, labels, GROUPS, 0))
    assert (guesses == labels).mean() > 0.9
    assert (guesses == run(cross_predict(kinds, labels, GROUPS, 0))).all()


def test_nothing_is_found_in_noise():
    right = [
        (run(cross_predict({"noise": features(seed)}, by_patient(seed), GROUPS, seed))
         == by_patient(seed)).mean()
        for seed in range(10)
    ]  # fmt: skip
    assert 0.4 < np.mean(right) < 0.6


def test_a_patient_s_own_slices_do_not_help():
    """Features that name the patient and nothing else say nothing about other patients."""
    identity = torch.from_numpy(np.eye(20)[GROUPS])
    right = [
        (run(cross_predict({"who": identity}, by_patient(s), GROUPS, s)) == by_patient(s)).mean()
        for s in range(10)
    ]
    assert np.mean(right) < 0.65


def test_classes_weigh_alike_and_one_class_alone_is_no_error():
    labels = np.arange(60) < 6
    values = features(5, 6, labels)
    assert predict(values, labels, values)[:6].mean() > 0.8
    assert predict(values, np.ones(60, bool), values).all()
    assert not predict(values, np.zeros(60, bool), values).any()


def test_items_that_are_all_alike_are_no_error():
    """As of empty masks: the kernel is 0, and an audit fell over a singular matrix."""
    same = torch.full((60, 8), 0.3, dtype=torch.float64)
    assert len(predict(same, by_patient(0), same)) == 60
