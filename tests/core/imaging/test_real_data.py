from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ppcmi_sf.imaging import (
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    mask_to_grid,
    read_image,
    read_mask,
    write_mask,
)

DATA = Path(__file__).parents[4] / "shared" / "data"
VOLUMES = DATA / "ms_brain_lesion" / "volumes"


@pytest.mark.real_data
@pytest.mark.skipif(not VOLUMES.is_dir(), reason="the real images (../shared/data) are not here")
def test_mask_of_a_real_volume_has_its_exact_grid(tmp_path, make_study):
    path = VOLUMES / "case007_flair.nii.gz"
    image = read_image(path)
    study = make_study(size=(256, 256), classes=2)
    fit = fit_to_grid(image.geometry, study)
    first = next(iter_grid_slices(image, study, fit))
    assert first.shape == (1, 256, 256)
    truth = read_mask(VOLUMES / "case007_mask.nii.gz", 2, image_geometry=image.geometry)
    grid = mask_to_grid(truth, fit, 2)
    planes = {
        z: labels_from_grid(np.stack([plane == 0, plane == 1]).astype(np.float32), fit)
        for z, plane in enumerate(grid)
        if plane.any()
    }
    labels = assemble(planes, fit, truth.shape)
    # lesions of a few voxels: hard labels lose a little on the way
    assert 2 * (labels & truth).sum() / (labels.sum() + truth.sum()) > 0.95
    written = nib.load(write_mask(labels, image.geometry, tmp_path, "case007"))
    original = nib.load(path)
    assert written.shape == original.shape
    np.testing.assert_array_equal(written.affine, original.affine)
    np.testing.assert_array_equal(written.get_qform(), original.get_qform())
    assert written.header["qform_code"] == original.header["qform_code"]
    assert written.header["sform_code"] == original.header["sform_code"]
