"""What a protected slice looks like to somebody without the key."""

import numpy as np
import pytest
import torch

from ppcmi_sf.bundle import new_item_id
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging import MedicalImage, read_image
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.roles import Site
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.preview import preview_slice

CPU = torch.device("cpu")


def load(one, name="north"):
    return SiteFolder(one.site(name)).load(one.keys[name], CPU)[0]


def pictures(one, name="north"):
    return [read_image(case.image) for case in one.testing[name]]


def with_key(site, original):
    """Correlation of what the site itself gets back."""
    items = [new_item_id()]
    protected = site.protect_images(torch.from_numpy(original[None, None]), items)
    decoded = site.reconstruct_images(protected, items)[0, 0].numpy()
    return np.corrcoef(original.ravel(), decoded.ravel())[0, 1]


def require_pictures(preview, size=(64, 64)):
    for picture in (preview.original, preview.reconstruction):
        assert (picture.shape, picture.dtype) == (size, np.float32)
        assert np.isfinite(picture).all()
        assert 0 <= picture.min() <= picture.max() <= 1
    assert 0 <= preview.correlation <= 1
    assert -1 <= preview.ssim <= 1
    assert preview.method == "this site's decoder, without the key" or preview.method in {
        f"first principal component of the {n}x{n} features" for n in (8, 4, 2)
    }


def test_in_escrow_far_less_is_seen_than_with_the_key(escrow):
    site = load(escrow)
    without, with_it = [], []
    for image in pictures(escrow):
        preview = preview_slice(site, image, slice_axis=None)
        require_pictures(preview)
        without.append(preview.correlation)
        with_it.append(with_key(site, preview.original))
        if preview.correlation:
            found = np.corrcoef(preview.original.ravel(), preview.reconstruction.ravel())[0, 1]
            assert found == pytest.approx(preview.correlation, abs=1e-4)  # of the right sign
    print(f"\nwithout the key {np.round(without, 2)}, with it {np.round(with_it, 2)}")
    assert min(with_it) > 0.8
    assert np.mean(without) < 0.5 * np.mean(with_it)


def test_in_blind_more_is_seen(escrow, blind):
    """The same autoencoders and images; positions stay where they are."""
    seen = {}
    for one in (escrow, blind):
        site = load(one)
        seen[one.study.arrangement] = [preview_slice(site, image) for image in pictures(one)]
    for preview in seen["blind"]:
        require_pictures(preview)
        assert preview.method.startswith("first principal component")
    means = {name: np.mean([p.correlation for p in every]) for name, every in seen.items()}
    print(f"\n{means}")
    assert means["blind"] > means["escrow"] + 0.2


def test_it_is_the_slice_that_was_asked_for(escrow, make_volume, tmp_path):
    site = load(escrow)
    image = read_image(make_volume(tmp_path / "stack.nii", 5).image)
    every = [preview_slice(site, image, slice_axis=2, index=index) for index in range(5)]
    middle = preview_slice(site, image)
    np.testing.assert_array_equal(middle.original, every[2].original)
    assert not np.array_equal(middle.original, every[0].original)
    across = preview_slice(site, image, slice_axis=0)
    require_pictures(across)
    assert across.original[:20].max() == 0  # padding
    for index in (-1, 5):
        with pytest.raises(PPCMIError, match="no slice") as caught:
            preview_slice(site, image, slice_axis=2, index=index)
        assert "0 to 4" in caught.value.hint
    with pytest.raises(PPCMIError, match="no slice axis 3"):
        preview_slice(site, image, slice_axis=3)


def test_a_constant_image_is_like_nothing(escrow):
    image = pictures(escrow)[0]
    flat = MedicalImage(np.full_like(image.data, 7), image.geometry)
    preview = preview_slice(load(escrow), flat)
    require_pictures(preview)
    assert preview.correlation == 0
    assert preview.original.max() == 0


def test_colours_are_shown_as_their_mean(make_study, escrow):
    study = make_study(channels=3)
    key = ClientKey.generate("north", study.fingerprint)
    site = Site(study, Autoencoder(study, "image"), Autoencoder(study, "mask"), key)
    image = pictures(escrow)[0]
    colours = np.concatenate([image.data, 2 * image.data, 255 - image.data], axis=-1)
    preview = preview_slice(site, MedicalImage(colours, image.geometry))
    require_pictures(preview)
    grey = preview_slice(load(escrow), image).original  # each channel is scaled for itself
    np.testing.assert_allclose(preview.original, (grey + grey + 1 - grey) / 3, atol=1e-4)
