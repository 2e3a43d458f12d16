"""The keyed latent transform: the documented one, exact, differentiable and fast."""

import importlib.util
import json
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ppcmi_sf.errors import StudyError
from ppcmi_sf.keys import ClientKey, TransformShare
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.transform import KeyedLatentTransform, gaussians, orthogonal, permutation

VECTORS = Path(__file__).parent / "vectors"
MAX_MILLISECONDS = 20  # the aim is 2 on an idle machine


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", VECTORS / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def share_for(study, secret=bytes(range(32)), site="north", epoch=1) -> TransformShare:
    return TransformShare(site, study.fingerprint, epoch, secret)


def ids(count: int) -> list[str]:
    return [f"{index:016x}" for index in range(count)]


def random_latents(study, batch, seed=0, dtype=torch.float32) -> LatentPyramid:
    generator = torch.Generator().manual_seed(seed)
    return LatentPyramid(
        {
            s.name: 3 * torch.randn(batch, *s.shape, generator=generator, dtype=dtype)
            for s in study.scales
        }
    )


def seeds(count: int) -> list[bytes]:
    return [index.to_bytes(32, "big") for index in range(1, count + 1)]


@pytest.mark.parametrize("preset", ["ppcmi-sf", "small"])
@pytest.mark.parametrize("role", ["image", "mask"])
def test_vectors(preset, role, make_study, reference):
    stored = json.loads((VECTORS / "transform.json").read_text())
    study = make_study(size=(256, 256), autoencoder=preset)
    assert stored["share"] == bytes(range(32)).hex()
    transform = KeyedLatentTransform(share_for(study), study, role)
    expected = stored["transforms"][preset][role]
    assert list(transform.scales) == list(expected)
    for name, one in transform.scales.items():
        made = reference.summary(
            one.mixing.double().numpy(), one.bias.double().numpy(), one.positions.numpy()
        )
        assert made["P_first"] == expected[name]["P_first"]
        assert made["P_sha256"] == expected[name]["P_sha256"]
        for part in ("Q_first", "b_first"):
            np.testing.assert_allclose(made[part], expected[name][part], atol=1e-6, rtol=0)
        for part in ("Q_sum", "b_sum"):  # of up to 65536 entries rounded to float32
            np.testing.assert_allclose(made[part], expected[name][part], atol=1e-5, rtol=0)


def test_stored_vectors_are_the_reference_s(reference):
    stored = json.loads((VECTORS / "transform.json").read_text())
    made = reference.vectors()
    for preset, roles in stored["transforms"].items():
        for role, scales in roles.items():
            for name, expected in scales.items():
                again = made["transforms"][preset][role][name]
                assert again["P_sha256"] == expected["P_sha256"]
                np.testing.assert_allclose(again["Q_sum"], expected["Q_sum"], atol=1e-9)


@pytest.mark.parametrize("arrangement", ["escrow", "blind"])
@pytest.mark.parametrize("role", ["image", "mask"])
def test_agrees_with_an_independent_implementation(arrangement, role, make_study, reference):
    study = make_study(size=(64, 96), autoencoder="small", arrangement=arrangement)
    share = share_for(study, secret=b"\xa5" * 32)
    latents = random_latents(study, 2)
    items = ids(2)
    protected = KeyedLatentTransform(share, study, role).protect(latents, items)
    for scale in study.scales:
        q, bias, positions = reference.transform_of(share.secret, role, scale.name, scale.shape)
        for index, item in enumerate(items):
            expected = reference.protect(
                latents[scale.name][index].double().numpy(),
                q,
                bias,
                positions if arrangement == "escrow" else None,
            )
            if arrangement == "escrow":
                drawn = reference.item_of(share.secret, role, scale.name, scale.shape, item)
                expected = reference.protect_item(expected, *drawn)
            np.testing.assert_allclose(
                protected[scale.name][index].numpy(), expected, atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("preset", ["ppcmi-sf", "small"])
@pytest.mark.parametrize("use_skips", [True, False])
@pytest.mark.parametrize("arrangement", ["escrow", "blind"])
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_inverse_is_exact_to_1e_5(preset, use_skips, arrangement, batch, make_study):
    study = make_study(
        size=(128, 96), autoencoder=preset, use_skips=use_skips, arrangement=arrangement
    )
    transform = KeyedLatentTransform(share_for(study), study, "image")
    latents, items = random_latents(study, batch), ids(batch)
    protected = transform.protect(latents, items)
    again = transform.recover(protected, items)
    assert protected.matches(study.scales)
    for name, value in latents.items():
        assert again[name].shape == value.shape
        error = torch.linalg.vector_norm(again[name] - value)
        assert error <= 1e-5 * torch.linalg.vector_norm(value)
        if batch:
            change = torch.linalg.vector_norm(protected[name] - value)
            assert change > 0.5 * torch.linalg.vector_norm(value)


def test_channels_last_input_gives_the_same(make_study):
    study = make_study()
    transform = KeyedLatentTransform(share_for(study), study, "image")
    latents = random_latents(study, 3)
    strided = latents.map(lambda value: value.to(memory_format=torch.channels_last))
    items = ids(3)
    plain, other = transform.protect(latents, items), transform.protect(strided, items)
    for name in plain:
        torch.testing.assert_close(other[name], plain[name])


def test_it_differentiates(make_study):
    study = make_study(size=(32, 32))
    transform = KeyedLatentTransform(share_for(study), study, "mask")
    one = transform.scales["skip3"]
    latents = torch.randn(1, *study.scales[0].shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(one.protect, latents, fast_mode=True)
    assert torch.autograd.gradcheck(one.recover, latents, fast_mode=True)
    # The gradient of the sum of squares of a rotated vector is the rotated-back gradient.
    protected = one.protect(latents)
    protected.square().sum().backward()
    # |P(Qᵀz + b)|² has the gradient 2 Q (Qᵀz + b) = 2 (z + Qb).
    shift = one.mixing.double() @ one.bias.double()
    torch.testing.assert_close(
        latents.grad, 2 * (latents.detach() + shift[:, None, None]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("arrangement", ["escrow", "blind"])
def test_without_the_part_per_item_it_is_affine_and_keeps_distances(arrangement, make_study):
    study = make_study(size=(32, 32), arrangement=arrangement)
    transform = KeyedLatentTransform(share_for(study), study, "image", per_item=False)
    a, b = random_latents(study, 1, seed=1), random_latents(study, 1, seed=2)
    for name in a:
        before = torch.dist(a[name], b[name])
        after = torch.dist(transform.protect(a, ids(1))[name], transform.protect(b, ["x"])[name])
        torch.testing.assert_close(after, before, rtol=1e-5, atol=0)


def test_blind_takes_no_part_per_item_unless_told(make_study):
    for arrangement, expected in (("escrow", 3), ("blind", 0)):
        study = make_study(arrangement=arrangement)
        share = share_for(study)
        assert len(KeyedLatentTransform(share, study, "image").items) == expected
        assert len(KeyedLatentTransform(share, study, "image", per_item=True).items) == 3
        assert KeyedLatentTransform(share, study, "image", per_item=False).items == {}


def test_only_escrow_permutes(make_study):
    escrow, blind = (make_study(arrangement=name) for name in ("escrow", "blind"))
    for study, permutes in ((escrow, True), (blind, False)):
        transform = KeyedLatentTransform(share_for(study), study, "image")
        for scale in study.scales:
            one = transform.scales[scale.name]
            latents = torch.zeros(1, *scale.shape)
            latents[0, :, 0, 1] = 1
            moved = (one.protect(latents) - one.protect(torch.zeros_like(latents))).abs().sum(1)
            assert (moved > 1e-6).sum() == 1
            place = int(moved.flatten().argmax())
            if permutes:
                assert place == int((one.positions == 1).nonzero())
                assert sorted(one.positions.tolist()) == list(range(scale.rows * scale.columns))
            else:
                assert one.positions is None
                assert place == 1


def test_roles_epochs_sites_scales_and_studies_differ(make_study):
    study, other = make_study(use_skips=True), make_study(name="other")
    north = ClientKey("north", study.fingerprint, 1, b"n" * 32)
    keys = {
        "north": north,
        "epoch": ClientKey("north", study.fingerprint, 2, b"n" * 32),
        "south": ClientKey("south", study.fingerprint, 1, b"s" * 32),
        "study": ClientKey("north", other.fingerprint, 1, b"n" * 32),
    }
    every = {}
    for label, key in keys.items():
        home = other if label == "study" else study
        for role in ("image", "mask"):
            transform = KeyedLatentTransform(key.transform_share(), home, role)
            for name, one in transform.scales.items():
                every[label, role, name] = one
    assert len(every) == 4 * 2 * 3
    biases = torch.stack([one.bias[:32] for one in every.values()])
    correlation = torch.corrcoef(biases) - torch.eye(len(biases))
    assert correlation.abs().max() < 0.8  # of 32 independent normals each
    for name in ("skip3", "skip4", "bottleneck"):
        same_scale = [one for (_, _, scale), one in every.items() if scale == name]
        for index, one in enumerate(same_scale):
            for another in same_scale[:index]:
                # Of two independent orthogonal matrices, QᵀQ' is one itself: its mean square
                # diagonal entry is 1/C, not 1.
                diagonal = (one.mixing.T @ another.mixing).diagonal()
                assert diagonal.square().mean() < 0.15
                assert not torch.equal(one.positions, another.positions)


def test_a_share_of_another_study_is_refused(make_study):
    study, other = make_study(), make_study(name="other")
    with pytest.raises(StudyError, match="transform share of site 'north'"):
        KeyedLatentTransform(share_for(other), study, "image")


@pytest.mark.parametrize("size", [1, 2, 7, 64, 256])
def test_orthogonal(size):
    q = orthogonal(b"q" * 32, size)
    assert q.dtype == np.float64
    np.testing.assert_allclose(q.T @ q, np.eye(size), atol=1e-12)


def test_orthogonal_matrices_are_haar_distributed():
    count, size = 400, 6
    matrices = np.stack([orthogonal(seed, size) for seed in seeds(count)])
    signs = np.sign(np.linalg.det(matrices))
    # Fair coin: 200 ± 10; five standard deviations either way.
    assert 150 < (signs > 0).sum() < 250
    # The trace of a Haar matrix has mean 0 and variance 1; without the sign correction the
    # mean would be far off (each column's first entries lean one way).
    traces = np.trace(matrices, axis1=1, axis2=2)
    assert abs(traces.mean()) < 5 / np.sqrt(count)
    assert 0.7 < traces.var() < 1.4
    # Every entry has mean 0 and mean square 1/C.
    assert np.abs(matrices.mean(axis=0)).max() < 5 / np.sqrt(count * size)
    np.testing.assert_allclose((matrices**2).mean(axis=0), 1 / size, atol=0.07)


def test_gaussians_are_normal_and_do_not_depend_on_parity():
    drawn = gaussians(b"g" * 32, 200_000)
    assert abs(drawn.mean()) < 0.012
    assert abs(drawn.std() - 1) < 0.01
    assert abs((drawn**3).mean()) < 0.05
    assert abs((drawn**4).mean() - 3) < 0.15
    assert np.isfinite(drawn).all()
    assert len(gaussians(b"g" * 32, 7)) == 7


def test_permutations_are_uniform():
    firsts = np.array([permutation(seed, 5) for seed in seeds(1000)])
    assert (np.sort(firsts, axis=1) == np.arange(5)).all()
    counts = np.array([np.bincount(firsts[:, place], minlength=5) for place in range(5)])
    assert counts.min() > 140  # 200 ± 12.6
    assert counts.max() < 260


def test_protect_is_fast(make_study):
    study = make_study(size=(256, 256), autoencoder="ppcmi-sf")
    transform = KeyedLatentTransform(share_for(study), study, "image")
    latents, items = random_latents(study, 1), ids(1)
    times = []
    with torch.inference_mode():
        for _ in range(60):
            start = time.perf_counter()
            transform.protect(latents, items)
            times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times)
    print(f"\nkeyed transform of one image, three scales: {median:.2f} ms (best {min(times):.2f})")
    assert median < MAX_MILLISECONDS
