"""A site aligns its image encoder with the network that it installed."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ppcmi_sf.errors import ModelFileError
from ppcmi_sf.imaging import read_image
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import load_model, read_header, save_model, weights_id
from ppcmi_sf.progress import run
from ppcmi_sf.training.encoder_alignment import EncoderAlignmentOptions
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.workflows.align_site import align_site
from ppcmi_sf.workflows.folders import SiteFolder, load_mapping_network

CPU = torch.device("cpu")


def options(**fields) -> EncoderAlignmentOptions:
    wanted = {"epochs": 12, "batch_size": 6, "learning_rate": 3e-3} | fields
    return EncoderAlignmentOptions(fit=FitOptions(**wanted), augment=False)


def align(site, wanted=None, **more):
    return align_site(site.folder, site.key, site.training, wanted or options(), device=CPU, **more)


def install(site, server, folder):
    site.install(server.publish(site.name, folder / "models"))
    return site


@pytest.fixture
def ready(north, server, tmp_path):
    return install(north, server, tmp_path)


@pytest.fixture
def free(ready):
    """Nobody is set apart, so whatever comes out is kept."""
    folder = SiteFolder(ready.folder)
    folder.save_record(folder.record().model_copy(update={"validation_groups": ()}))
    return ready


def unlearn(site) -> None:
    """As if the encoder had been trained badly and the network learned from it: noise on both."""
    folder = SiteFolder(site.folder)
    path = folder.model_file("image")
    header, model = read_header(path), Autoencoder(site.study, "image")
    load_model(path, model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.encoder.stages[2].parameters():
            value.add_(0.15 * torch.randn(value.shape, generator=generator))
    save_model(path, model, header)
    mask = Autoencoder(site.study, "mask")
    load_model(folder.model_file("mask"), mask)
    network, said = load_mapping_network(folder.mapping_file, site.study)
    encoders = weights_id(model.encoder, mask.encoder)
    link = said.sites[0].model_copy(update={"encoders": encoders})
    save_model(folder.mapping_file, network, said.model_copy(update={"sites": (link,)}))


def test_masks_get_better_and_what_leaves_stays_the_same(both, open_site, open_server, tmp_path):
    site = install(open_site(both), open_server(both), tmp_path)
    unlearn(site)
    before = site.segmenter()
    report = run(align(site))
    after = site.segmenter()
    assert report.kept
    assert report.after > report.before + 0.05
    assert (before.aligned, before.encoders) == (None, after.encoders)
    assert weights_id(after.site.image_autoencoder) == weights_id(before.site.image_autoencoder)
    assert after.aligned is not None
    assert weights_id(after.aligned.image_autoencoder.encoder) != weights_id(
        before.site.image_autoencoder.encoder
    )
    assert _dice(site, after) > _dice(site, before) + 0.05


def _dice(site, segmenter) -> float:
    """On test patients, which neither training has seen."""
    both = total = 0
    for case in site.testing:
        found = run(segmenter.segment(read_image(case.image)))
        with Image.open(case.mask) as image:
            truth = np.asarray(image)
        both += int((found * truth).sum())
        total += int(found.sum()) + int(truth.sum())
    return 2 * both / total


def test_the_network_and_the_decoder_stay(free):
    folder = SiteFolder(free.folder)
    files = [folder.mapping_file, folder.model_file("mask"), folder.model_file("image")]
    before = [path.read_bytes() for path in files]
    run(align(free, options(epochs=1)))
    assert [path.read_bytes() for path in files] == before
    header = read_header(folder.aligned_file)
    assert header.kind == "aligned-encoder"
    assert header.network == free.segmenter().network


def test_a_fit_that_makes_it_worse_is_thrown_away(ready, files):
    report = run(align(ready, options(epochs=1, learning_rate=10.0)))
    assert report.after < report.before
    assert not report.kept
    assert ready.segmenter().aligned is None
    assert not [name for name in files(ready.folder) if "aligned" in name]


def test_without_patients_set_apart_it_is_kept_and_nothing_is_claimed(free):
    report = run(align(free, options(epochs=1)))
    assert (report.before, report.after, report.kept) == (None, None, True)
    assert free.segmenter().aligned is not None


def test_a_second_time_it_is_compared_with_the_first(ready):
    """And it begins where the first began: the same seed gives the same again."""
    unlearn(ready)
    first = run(align(ready))
    encoder = weights_id(ready.segmenter().aligned.image_autoencoder)
    worse = run(align(ready, options(epochs=1, learning_rate=10.0)))
    assert worse.before == first.after
    assert not worse.kept
    assert weights_id(ready.segmenter().aligned.image_autoencoder) == encoder
    again = run(align(ready))
    assert (again.before, again.after, again.kept) == (first.after, first.after, True)
    assert weights_id(ready.segmenter().aligned.image_autoencoder) == encoder


def test_without_a_network_it_says_how_to_get_one(north):
    with pytest.raises(ModelFileError, match="no mapping network") as caught:
        run(align(north))
    assert "site install" in caught.value.hint


def test_another_network_does_without_it(free):
    run(align(free, options(epochs=1)))
    path = SiteFolder(free.folder).mapping_file
    header = read_header(path)
    network = UnifiedMappingNetwork(free.study, ["north"], adapters=header.adapters)
    load_model(path, network)
    with torch.no_grad():
        next(network.trunk.parameters()).add_(1e-3)
    save_model(path, network, header)
    assert free.segmenter().aligned is None
    run(align(free, options(epochs=1)))
    assert free.segmenter().aligned is not None


def test_a_file_of_another_kind_is_refused(ready):
    folder = SiteFolder(ready.folder)
    folder.aligned_file.write_bytes(folder.mapping_file.read_bytes())
    with pytest.raises(ModelFileError, match="not an aligned encoder"):
        ready.segmenter()


def test_stopped_it_goes_on(free):
    job = align(free, options(epochs=3))
    for step in job:
        if step.values.get("epoch") == 1:
            break
    job.close()
    folder = SiteFolder(free.folder)
    assert folder.alignment_checkpoint.is_file()
    assert not folder.aligned_file.exists()
    resumed = run(align(free, options(epochs=3)))
    encoder = weights_id(free.segmenter().aligned.image_autoencoder)
    assert not folder.alignment_checkpoint.exists()
    unbroken = run(align(free, options(epochs=3)))
    assert resumed == dataclasses.replace(unbroken, failures=resumed.failures)
    assert weights_id(free.segmenter().aligned.image_autoencoder) == encoder


def test_a_case_that_cannot_be_read_is_left_out(ready):
    broken = ready.training[0]
    cases = [dataclasses.replace(broken, image=broken.image.with_suffix(".missing"))]
    cases += ready.training[1:]
    report = run(align_site(ready.folder, ready.key, cases, options(epochs=1), device=CPU))
    assert [name for name, _ in report.failures] == [broken.name]


def test_the_file_says_nothing_of_the_images(free):
    run(align(free, options(epochs=1)))
    header = json.loads(read_header(SiteFolder(free.folder).aligned_file).model_dump_json())
    assert {name for name, value in header.items() if value} == {
        "format", "version", "kind", "study", "site", "encoders", "network",
    }  # fmt: skip
