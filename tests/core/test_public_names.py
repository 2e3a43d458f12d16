import subprocess
import sys

import pytest

import ppcmi_sf
import ppcmi_sf.bundle


@pytest.mark.parametrize("name", ppcmi_sf.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(ppcmi_sf, name) is not None
    assert name in dir(ppcmi_sf)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = ppcmi_sf.nothing_like_it


def test_the_light_names_do_not_load_torch() -> None:
    code = (
        "import sys, ppcmi_sf as p; p.StudySpec, p.ClientKey, p.run; print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("name", ppcmi_sf.bundle.__all__)
def test_every_name_of_the_bundle_package_is_there(name: str) -> None:
    assert getattr(ppcmi_sf.bundle, name) is not None
    assert name in dir(ppcmi_sf.bundle)


def test_parsing_a_bundle_needs_neither_torch_nor_cryptography() -> None:
    code = (
        "import sys, ppcmi_sf.bundle as b; b.Envelope, b.BundleHeader; "
        "print({'torch', 'cryptography'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert result.stdout.strip() == "set()"
