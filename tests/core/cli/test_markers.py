"""Planted markers: what a file says of a patient stays at the site.

A DICOM series and NIfTI volumes whose headers, names and folders are full of unique texts,
dates and odd numbers go through every verb. Then:

- nothing of them is in what leaves (bundles as a recipient opens them, shares, requests,
  lists), in the disclosure log, its CSV, or anything that the server has;
- what stands in the *headers* is, besides, in no output of any verb and in no error.

File names and folders may be told on the site's own terminal: a message that did not say which
file failed would be of no use. They are in the site's own registry and ``pairs.json``.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import traceback

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ppcmi_sf import errors
from ppcmi_sf.bundle import open_bundle
from ppcmi_sf.imaging import read_image, write_mask

from .conftest import Chain  # isort: skip

HEADERS = {
    "0010|0010": "Zqpatient^Xaverine", "0010|0020": "ZQPID7731", "0010|0030": "19230417",
    "0010|1000": "ZQOTHERID", "0010|1040": "Zqaddress 17", "0010|4000": "zqcomment",
    "0008|0020": "19870213", "0008|0030": "070809", "0008|0050": "ZQACCESSION",
    "0008|0080": "Zqhospital", "0008|0081": "Zqhospital street", "0008|0090": "Zqreferrer",
    "0008|1010": "ZQSTATION", "0008|1030": "Zqstudydescription", "0008|103e": "Zqseriestext",
    "0008|1048": "Zqphysician", "0008|1070": "Zqoperator", "0018|1000": "ZQSERIAL",
    "0018|1030": "Zqprotocol", "0020|0010": "ZQSTUDYID", "0032|1060": "Zqprocedure",
}  # fmt: skip
UIDS = {"0020|000d": "1.2.826.0.1.7733.11", "0020|000e": "1.2.826.0.1.7733.12"}
NIFTI = {
    "descrip": b"zqdescrip", "aux_file": b"zqauxfile", "db_name": b"zqdbname",
    "intent_name": b"zqintent",
}  # fmt: skip
NAMES = ("zqfolder-Doe", "zqcase-Jane", "zqseries-Doe")
SPACING, ORIGIN = 0.7337, -123.4567
SIDE, SLICES = 40, 3


def write_series(folder, images):
    """A DICOM series with a header full of markers."""
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, pixels in enumerate(images):
        plane = sitk.GetImageFromArray(pixels[None].astype(np.int16))
        plane.SetSpacing((SPACING, SPACING, 2.5))
        places = {
            "0020|0032": f"{ORIGIN}\\-7.5\\{number * 2.5}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number), "0008|0060": "MR",
            "0008|0018": f"1.2.826.0.1.7733.13.{number}",
        }  # fmt: skip
        for tag, value in (HEADERS | UIDS | places).items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"zqslice-{number}.dcm"))
        writer.Execute(plane)


def write_nifti(path, images, dtype):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([SPACING, SPACING, 2.5, 1.0])
    affine[:3, 3] = ORIGIN, 4.25, 1.75
    image = nib.Nifti1Image(np.stack(list(images), axis=-1).astype(dtype), affine)
    for name, value in NIFTI.items():
        image.header[name] = value
    nib.save(image, path)


def write_site(folder, ellipses, seed):
    """Three volumes and a DICOM series, with masks."""
    images, masks = ellipses(seed, 4 * SLICES, (SIDE, SIDE))
    parts = [slice(at, at + SLICES) for at in range(0, len(images), SLICES)]
    for number, part in enumerate(parts[:3]):
        name = f"{NAMES[1]}-{number}.nii.gz"
        write_nifti(folder / "images" / name, images[part], np.int16)
        write_nifti(folder / "masks" / name, masks[part], np.uint8)
    series = folder / "images" / NAMES[2]
    write_series(series, images[parts[3]])
    geometry = read_image(series).geometry
    labels = np.stack(list(masks[parts[3]]), axis=geometry.slice_axis)
    write_mask(np.moveaxis(labels, (0, 1), (1, 0)), geometry, folder / "masks", NAMES[2])


@pytest.fixture(scope="module")
def told():
    """Every error of the family that is made meanwhile, as Python would print it."""
    made, init = [], errors.PPCMIError.__init__

    def noting(self, *args, **more):
        init(self, *args, **more)
        made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errors.PPCMIError, "__init__", noting)
        yield made


@pytest.fixture(scope="module")
def marked(tmp_path_factory, ppcmi, ellipses, told):
    """A collaboration of two sites on marked files, with failing runs in between."""
    root = tmp_path_factory.mktemp("m") / NAMES[0]
    chain, begun = Chain(root, "escrow", ppcmi, root / "homes"), len(ppcmi.ran)
    sites = ("north", "south")
    root.mkdir()
    chain.meet(sites)
    for number, site in enumerate(sites):
        write_site(chain.at("data", site), ellipses, number)
        shutil.copytree(chain.at("data", site) / "images", chain.at("new", site) / "images")
        chain.new_key(site)
        chain.train_site(site)
        chain.protect_pairs(site)
        chain.send_share(site)
    chain.train_server(sites=sites)
    for site in sites:
        chain.protect(site)
        chain.map(site)
        chain.reveal(site)
        out = ("--out", root / "models")
        ppcmi("server", "publish", "--to", site, "--server-dir", chain.server, *out,
              *chain.acting())  # fmt: skip
    for model in (root / "models").iterdir():
        for site in sites:
            ppcmi("site", "install", model, *chain.mine(site), code=None)
    ppcmi("site", "align", chain.at("data", "north"), *chain.mine("north")[:4], *chain.known,
          "--epochs", 1)  # fmt: skip
    spoil_and_try(chain)
    for site in sites:
        ppcmi("log", "export", root / f"{site}.csv", *chain.at_home(site))
    return chain, ppcmi.ran[begun:]


def spoil_and_try(chain):
    """Failing runs: corrupt, 4D, wrong class; and the verbs that look at files."""
    ppcmi, mine, bad = chain.ppcmi, chain.mine("north"), chain.root / "bad"
    good = chain.at("data", "north") / "images" / f"{NAMES[1]}-0.nii.gz"
    (bad / "images").mkdir(parents=True)
    (bad / "masks").mkdir()
    data = good.read_bytes()
    (bad / "images" / "zqcut.nii.gz").write_bytes(data[: len(data) // 2])
    image = nib.load(good)
    four = nib.Nifti1Image(np.stack([image.get_fdata()] * 2, axis=-1), image.affine, image.header)
    nib.save(four, bad / "images" / "zqfour.nii.gz")
    cut = bad / "images" / "zqseries"
    shutil.copytree(chain.at("data", "north") / "images" / NAMES[2], cut)
    first = sorted(cut.iterdir())[0]
    first.write_bytes(first.read_bytes()[:900])
    ppcmi("site", "protect", bad / "images", *mine, "--out", bad / "q", code=1)
    wrong = bad / "pairs"
    shutil.copytree(chain.at("data", "north"), wrong)
    mask = wrong / "masks" / f"{NAMES[1]}-0.nii.gz"
    labels = nib.load(mask)
    nib.save(nib.Nifti1Image(labels.get_fdata() + 5, labels.affine, labels.header), mask)
    ppcmi("site", "protect", wrong, "--pairs", *mine, "--out", bad / "p", "--copies", 1, code=1)
    segment = ("--site-dir", chain.at("sites", "north"), "--key", chain.key("north"))
    for images, code in ((chain.at("new", "north") / "images", 0), (bad / "images", 1)):
        out = ("--out", chain.root / "segmented")
        ppcmi("site", "segment", images, *segment, *chain.known, *out, code=code)
    for looked_at in (good, good.parent / NAMES[2], cut, bad / "images" / "zqcut.nii.gz"):
        ppcmi("inspect", looked_at, code=None)
    truth = chain.at("data", "north") / "masks"
    ppcmi("evaluate", "--pred", chain.at("masks", "north"), "--truth", truth, "--study",
          chain.study, code=None)  # fmt: skip
    for site in ("north", "south"):
        ppcmi("log", *chain.at_home(site))
        ppcmi("log", "--json", *chain.at_home(site))


def header_markers():
    texts = [*HEADERS.values(), *UIDS.values(), *(value.decode() for value in NIFTI.values())]
    return [*texts, *(part for text in texts for part in text.split("^") if len(part) > 6)]


def forms(text):
    yield from (text.encode(), text.lower().encode(), text.upper().encode())
    yield text.encode("utf-16-le")
    yield text.encode().hex().encode()


def everything(chain):
    """Texts in all forms, and the odd numbers as texts and as bytes."""
    for text in [*header_markers(), *NAMES, "zqslice", "zqcase", str(SPACING), str(ORIGIN)]:
        yield from forms(text)
    yield chain.root.as_posix().encode()
    for number in (SPACING, ORIGIN):
        yield from (struct.pack("<d", number), struct.pack(">d", number))


def opened(path, chain, names):
    """All that a recipient gets of a bundle: header and numbers."""
    for name in names:
        party = chain.party(name)
        try:
            with open_bundle(path, party.identity, party.sender) as bundle:
                header = bundle.header.to_bytes()
                numbers = [
                    key.encode() + value.tobytes()
                    for record in bundle.records()
                    for key, value in record.items()
                ]
                return b"|".join([header, *numbers])
        except errors.NotRecipientError:
            continue
    raise AssertionError(path)


def test_the_run_was_what_it_should_be(marked):
    chain, ran = marked
    for site in ("north", "south"):
        assert len(list(chain.at("masks", site).iterdir())) == 4
        assert len(list(chain.at("queries", site).iterdir())) == 4
    assert len(list((chain.root / "segmented").iterdir())) >= 4
    assert {1, 0} <= {one.code for one in ran} and len(ran) > 40
    # The search finds what is there.
    series = chain.at("data", "north") / "images" / NAMES[2]
    planted = b"".join(path.read_bytes() for path in series.iterdir())
    assert all(text.encode() in planted for text in HEADERS.values())


def test_nothing_of_a_patient_leaves(marked):
    chain, _ = marked
    names = ("server", "north", "south")
    bundles = sorted(chain.root.rglob("*.ppcmi"))
    assert len(bundles) >= 2 + 8 + 8 + 2
    leaving = {path: opened(path, chain, names) for path in bundles}
    for pattern in ("*.ppcmishare", "*.ppcmijoin", "*.ppcmimembers", "*.csv", "*.ppcmi"):
        leaving |= {f"{path}": path.read_bytes() for path in chain.root.rglob(pattern)}
    for folder in (chain.server, chain.home("server")):
        held = [path for path in folder.rglob("*") if path.is_file()]
        leaving |= {f"{path}": path.read_bytes() for path in held}
    # The server's registry knows under which path of its own computer a bundle lay: here the
    # same folder, so its text is cleaned of that one path.
    registry = str(chain.home("server") / "registry.sqlite")
    for place in [name for name in leaving if str(name).startswith(registry)]:
        leaving[place] = leaving[place].replace(str(chain.root).encode(), b"")
    wanted = set(everything(chain))
    found = [(path, form) for path, held in leaving.items() for form in wanted if form in held]
    assert found == []


def test_the_odd_spacing_is_in_no_bundle_as_a_short_number(marked):
    """Four bytes may turn up among random ones, so more than one find counts; a leak is in all."""
    chain, _ = marked
    contents = [opened(path, chain, ("server", "north", "south"))
                for path in sorted(chain.root.rglob("*.ppcmi"))]  # fmt: skip
    for number in (SPACING, ORIGIN):
        for order in "<>":
            form = struct.pack(f"{order}f", number)
            assert sum(form in content for content in contents) <= 1
    volume = chain.at("data", "north") / "images" / f"{NAMES[1]}-0.nii.gz"
    assert struct.pack("<f", SPACING) in gzip.decompress(volume.read_bytes())  # it can be found


def test_the_server_is_told_no_name_of_a_file(marked):
    chain, ran = marked
    at_server = [one for one in ran if one.args[0] == "server"]
    assert len(at_server) == 1 + 2 + 2
    said = "\n".join(one.said for one in at_server).replace(str(chain.root), "").encode()
    assert [form for form in everything(chain) if form in said] == []


def test_the_disclosure_log_names_no_patient_and_no_file(marked):
    chain, ran = marked
    logs = [one for one in ran if one.args[:1] == ("log",) and "export" not in one.args]
    assert len(logs) == 4
    for one in logs:
        assert "training" in one.out and "query" in one.out
        text = one.out.encode()
        assert [form for form in everything(chain) if form in text] == []


def test_no_verb_and_no_error_tells_what_stands_in_a_header(marked, told):
    _, ran = marked
    said = "\n".join(one.said for one in ran)
    printed = []
    for error in told:
        for one in (error, error.__cause__, error.__context__):
            if one is not None:
                printed.append("".join(traceback.format_exception(one)))
    assert len(said) > 5_000 and len(printed) > 5
    everything_said = (said + "\n".join(printed)).lower()
    # UIDs are told where a folder holds several series: the user has to choose one.
    texts = [text for text in header_markers() if text not in UIDS.values()]
    assert [text for text in texts if text.lower() in everything_said] == []
