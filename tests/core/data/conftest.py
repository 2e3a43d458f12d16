"""Small real files in the layouts of the data sets."""

from __future__ import annotations

import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image


class Writer:
    """Writes small files of every kind that a layout needs."""

    def png(self, path, values=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.zeros((6, 8), np.uint8) if values is None else np.asarray(values, np.uint8)
        Image.fromarray(values).save(path)
        return path

    def nifti(self, path, values=None, affine=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.zeros((5, 4, 3), np.int16) if values is None else values
        nib.save(nib.Nifti1Image(values, np.diag([1, 2, 3, 1]) if affine is None else affine), path)
        return path

    def mha(self, path, array):
        """``array`` in SimpleITK's order: slowest axis first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        return path

    def dicom_series(self, folder, volume, *, numbers, spacing=(0.5, 0.5, 2.0), names=None):
        """Write ``volume`` (slice, row, column), slice 0 lowest; ``numbers`` per slice."""
        folder.mkdir(parents=True, exist_ok=True)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for index, plane in enumerate(volume):
            image = sitk.GetImageFromArray(plane.astype(np.int16))
            image.SetSpacing(spacing[:2])
            tags = {
                "0008|0060": "CT",
                "0020|000e": f"1.2.826.0.1.3680043.2.1125.1.{zlib.crc32(folder.name.encode())}",
                "0020|000d": "1.2.826.0.1.3680043.2.1125.1.1",
                "0020|0032": f"-10\\-20\\{index * spacing[2]}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
                "0018|0050": str(spacing[2]),
            }
            if numbers is not None:
                tags["0020|0013"] = str(numbers[index])
            for key, value in tags.items():
                image.SetMetaData(key, value)
            number = index if numbers is None else numbers[index]
            name = names[index] if names else f"D{number:04d}.dcm"
            writer.SetFileName(str(folder / name))
            writer.Execute(image)
        return folder


@pytest.fixture
def write():
    return Writer()
