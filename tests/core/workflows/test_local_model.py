"""A mapping network at a site: published, installed, used; and whose is refused."""

import dataclasses
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from ppcmi_sf.bundle import create_bundle, make_header, open_bundle
from ppcmi_sf.bundle.header import TensorLayout
from ppcmi_sf.data import Case
from ppcmi_sf.errors import (
    BundleContentError,
    BundleError,
    KeyFileError,
    ModelFileError,
    NotRecipientError,
    ReplayError,
    StudyError,
    UntrustedSenderError,
)
from ppcmi_sf.home import Party
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import load_model, read_header, save_model, weights_of
from ppcmi_sf.progress import run
from ppcmi_sf.workflows.folders import (
    ServerFolder,
    SiteFolder,
    load_mapping_network,
    save_mapping_network,
)
from ppcmi_sf.workflows.local_model import ENCODERS

CPU = torch.device("cpu")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def tensors_of(path, site):
    with open_bundle(path, site.party.identity, site.party.sender) as bundle:
        tensors = {}
        for record in bundle.records():
            tensors |= record
        return bundle.header, tensors


@pytest.fixture
def published(server, tmp_path):
    return server.publish("north", tmp_path / "models")


def train_anew(site):
    """As far as anybody can tell: other weights in the image autoencoder."""
    path = SiteFolder(site.folder).model_file("image")
    header, model = read_header(path), Autoencoder(site.study, "image")
    load_model(path, model)
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1e-4)
    save_model(path, model, header)


# -- who gets it ------------------------------------------------------------------------


def test_a_site_that_was_removed_gets_no_network(server, tmp_path):
    for serial, names in enumerate((["north", "south-1"], ["south-1"]), 1):
        members = [server.one.card(name) for name in names]
        study = server.study.fingerprint
        listed = MembershipList.make(server.party.identity, study, members, serial)
        server.party.home.memberships.keep(listed, issued=True)
        server.publish(names[0], tmp_path / "models")
    with pytest.raises(UntrustedSenderError, match="'north' does not take part"):
        server.publish("north", tmp_path / "removed")
    assert not (tmp_path / "removed").exists()


# -- the same masks ---------------------------------------------------------------------


def test_a_site_makes_the_same_masks_by_itself(both, open_site, open_server, tmp_path, files):
    """As by files in float32, but for pixels on the very edge between two classes."""
    north, server = open_site(both), open_server(both)
    north.install(server.publish("north", tmp_path / "models"))
    queries = run(north.queries(tmp_path / "q", precision="float32")).written
    replies = run(server.map(queries, tmp_path / "r", precision="float32")).written
    by_files = run(north.reveal(replies, tmp_path / "m")).written
    sent = north.noted()
    report = run(north.segment(tmp_path / "s"))
    assert (len(report.written), report.failures) == (4, [])
    assert files(tmp_path / "s") == files(tmp_path / "m")
    different = [
        (pixels(path) != pixels(tmp_path / "s" / path.name)).mean() for path in sorted(by_files)
    ]
    print(f"\n{both.study.arrangement}: {np.mean(different):.6f} of the pixels differ")
    assert np.mean(different) < 1e-3
    assert north.noted() == sent  # nothing leaves the site
    assert {path.name for path in by_files} == {f"{case.name}.png" for case in north.testing}


def test_a_volume_is_segmented_slice_by_slice(
    north, server, published, make_volume, tmp_path, files
):
    case = make_volume(tmp_path / "stack.nii", 11)
    north.install(published)
    queries = run(north.queries(tmp_path / "q", [case], precision="float32")).written
    replies = run(server.map(queries, tmp_path / "r", precision="float32")).written
    (by_files,) = run(north.reveal(replies, tmp_path / "m")).written
    (here,) = run(north.segment(tmp_path / "s", [case])).written
    assert here.name == by_files.name
    one, other = (np.asarray(nib.load(path).dataobj) for path in (here, by_files))
    assert one.shape == other.shape == (64, 64, 11)
    assert (one != other).mean() < 1e-3


# -- what is in it ----------------------------------------------------------------------


def test_a_site_gets_the_trunk_and_its_own_adapters(both, open_site, open_server, tmp_path):
    """Of the others not even the number: their mean latents are no business of it."""
    server = open_server(both)
    network = ServerFolder(server.folder).load(CPU, server.party)[0].network
    whole = {name: value.numpy() for name, value in weights_of(network).items()}
    alone = set(weights_of(UnifiedMappingNetwork(both.study, ["x"])))
    for number, name in enumerate(network.site_names):
        site = open_site(both, name)
        path = server.publish(name, tmp_path / "models")
        header, tensors = tensors_of(path, site)
        assert path.name == f"{header.bundle_id}.ppcmi"
        assert set(tensors) == alone | {ENCODERS}
        assert [entry.name for entry in header.layout if "adapters.1" in entry.name] == []
        own = {key: value for key, value in tensors.items() if key.startswith("adapters.0.")}
        trunk = {key: value for key, value in tensors.items() if key.startswith("trunk.")}
        assert len(own) + len(trunk) + 1 == len(tensors)
        for key, value in own.items():
            assert np.array_equal(value, whole[key.replace("adapters.0.", f"adapters.{number}.")])
        for key, value in trunk.items():
            assert np.array_equal(value, whole[key])
        data = b"".join(value.tobytes() for value in tensors.values())
        for other in set(range(3)) - {number}:
            for scale in both.study.scales:
                means = whole[f"adapters.{other}.{scale.name}.mean_in"]
                assert means.tobytes() not in data
        assert header.recipients == (both.card(name).fingerprint,)


def test_it_is_noted_where_it_leaves_and_where_it_comes(north, server, published):
    assert server.noted()[-1] == published.stem
    north.install(published)
    assert north.noted("received")[-1] == published.stem
    sent, came = server.party.home.log.entries()[-1], north.party.home.log.entries()[-1]
    assert (sent.event, sent.peers, sent.kind) == ("sent", (north.card.fingerprint,), "model")
    assert (came.event, came.peers, came.kind) == ("received", (server.card.fingerprint,), "model")
    assert sent.digest == came.digest
    assert sent.file_bytes == came.file_bytes == published.stat().st_size


def test_a_site_that_took_no_part_gets_none(server, tmp_path):
    stranger = server.party.identity.generate("far").card
    server.one = dataclasses.replace(server.one)
    server.one.card = lambda name: stranger
    with pytest.raises(ModelFileError, match="not trained with site 'far'") as caught:
        server.publish("far", tmp_path / "models")
    assert caught.value.hint
    assert not (tmp_path / "models").exists()


# -- what is refused --------------------------------------------------------------------


def refused(site, path, kind, words, **options):
    """Nothing is installed, nothing noted."""
    noted = site.noted("received")
    with pytest.raises(kind, match=words) as caught:
        site.install(path, **options)
    assert caught.value.hint
    assert not SiteFolder(site.folder).mapping_file.exists()
    assert site.noted("received") == noted
    return caught.value


def test_another_key_or_other_encoders_are_refused(north, published):
    other = ClientKey.generate("north", north.study.fingerprint)
    refused(north, published, BundleError, "learned with another key", key=other)
    words = r"another key \(epoch 1\) than this one \(epoch 2\)"
    refused(north, published, BundleError, words, key=north.key.rotate())
    train_anew(north)
    refused(north, published, BundleError, "autoencoders of this site were trained anew since")


def test_another_kind_is_refused(north):
    words = "a reply bundle, not a mapping network"
    error = refused(north, north.replies[0], BundleError, words)
    assert "ppcmi server publish" in error.hint


def test_another_site_s_network_is_refused(south, north, published):
    refused(south, published, NotRecipientError, "encrypted to others, not to 'south-1'")
    refused(north, published, KeyFileError, "The key is of site 'south-1'", key=south.key)


def test_a_network_of_another_study_is_refused(north, server, published, make_study, tmp_path):
    other = make_study(name="other")
    header, tensors = tensors_of(published, north)
    path = forge_model(server, north, tmp_path, header, tensors, study=other.fingerprint)
    refused(north, path, StudyError, "belongs to another study")


def test_a_network_of_a_revoked_server_is_refused(north, published):
    north.party.home.contacts.revoke("server")
    refused(north, published, UntrustedSenderError, "the sender 'server' was revoked")


def test_a_network_of_a_contact_that_got_no_pairs_is_refused(north, server, published, tmp_path):
    """Trusted otherwise; as for a reply, only who was asked may answer."""
    header, tensors = tensors_of(published, north)
    stranger = server.party.identity.generate("clever")
    north.party.home.contacts.add(stranger.card)
    clever = dataclasses.replace(server, party=Party(server.party.home, stranger))
    path = forge_model(clever, north, tmp_path, header, tensors)
    refused(north, path, UntrustedSenderError, "'clever'")


def test_a_network_is_taken_in_once_unless_told(north, published):
    first = north.install(published)
    with pytest.raises(ReplayError, match="was accepted before"):
        north.install(published)
    assert north.install(published, again=True) == first


def forge_model(server, site, folder, header, tensors, **changes):
    """A model bundle with the server's signature, whatever is in it."""
    types = {"float32": "F32", "uint8": "U8", "float16": "F16"}
    layout = [
        TensorLayout(name=name, dtype=types[str(value.dtype)], shape=value.shape)
        for name, value in tensors.items()
    ]
    said = {"study": header.study, "key_id": header.key_id, "epoch": 1, "model": header.model}
    made = make_header(
        "model",
        sender=server.party.identity,
        recipients=[site.card],
        items=1,
        layout=layout,
        **(said | changes),
    )
    path = folder / f"{made.bundle_id}.ppcmi"
    with create_bundle(path, made, server.party.identity, [site.card]) as writer:
        for name, value in tensors.items():
            writer.append_tensor(name, value)
        writer.finish()
    return path


@pytest.mark.parametrize("change", ["missing", "more", "shape", "type", "two sites", "no encoders"])
def test_other_layers_than_the_study_s_are_refused(change, north, server, published, tmp_path):
    header, tensors = tensors_of(published, north)
    name = next(name for name, value in tensors.items() if value.ndim == 4)
    if change == "missing":
        del tensors[name]
    elif change == "more":
        tensors["trunk.extra.weight"] = np.zeros(3, np.float32)
    elif change == "shape":
        tensors[name] = tensors[name][:, :, :1]
    elif change == "type":
        tensors[name] = tensors[name].astype(np.float16)
    elif change == "two sites":
        own = {key: value for key, value in tensors.items() if key.startswith("adapters.0.")}
        tensors |= {key.replace(".0.", ".1.", 1): value for key, value in own.items()}
    else:
        tensors[ENCODERS] = tensors[ENCODERS][:4]
    path = forge_model(server, north, tmp_path, header, tensors)
    error = refused(north, path, BundleContentError, "not those of this study's mapping network")
    assert str(path) in error.message
    assert "Tell 'server'" in error.hint


def test_an_installed_network_stays_when_another_is_refused(north, server, published, tmp_path):
    north.install(published)
    path = SiteFolder(north.folder).mapping_file
    before = path.read_bytes()
    header, tensors = tensors_of(published, north)
    tensors.pop(ENCODERS)
    with pytest.raises(BundleContentError):
        north.install(forge_model(server, north, tmp_path, header, tensors))
    assert path.read_bytes() == before


# -- segmenting -------------------------------------------------------------------------


def test_without_a_network_it_says_what_to_do(north, tmp_path):
    with pytest.raises(ModelFileError, match="no mapping network at this site") as caught:
        run(north.segment(tmp_path / "m"))
    assert "ppcmi site install" in caught.value.hint
    assert "ppcmi site protect" in caught.value.hint
    assert not (tmp_path / "m").exists()


def test_a_network_that_gives_no_numbers_makes_no_masks(north, server, only_failure, tmp_path):
    folder = ServerFolder(server.folder)
    network, header = load_mapping_network(folder.model_file, server.study)
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.fill_(-1.0)  # finite, but it has no root
    save_mapping_network(folder.model_file, network, server.study, header.sites)
    north.install(server.publish("north", tmp_path / "models"))
    report = run(north.segment(tmp_path / "masks", north.testing[:1]))
    assert "no numbers" in only_failure(report).message
    assert not report.written and not list(tmp_path.glob("masks/*"))


def test_a_network_that_does_not_fit_any_more_is_not_used(north, server, published, tmp_path):
    north.install(published)
    path = SiteFolder(north.folder).mapping_file
    new = north.key.rotate()
    with pytest.raises(ModelFileError, match="learned with another key or other autoencoders"):
        run(north.segment(tmp_path / "m", key=new))
    good = path.read_bytes()
    for source in (
        ServerFolder(server.folder).model_file,
        SiteFolder(north.folder).model_file("mask"),
    ):
        shutil.copy(source, path)
        with pytest.raises(ModelFileError, match="not a mapping network"):
            run(north.segment(tmp_path / "m"))
    path.write_bytes(good)
    train_anew(north)
    with pytest.raises(ModelFileError, match="learned with another key or other autoencoders"):
        run(north.segment(tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_masks_that_are_there_are_kept_and_bad_images_listed(
    north, published, tmp_path, only_failure
):
    north.install(published)
    out, good = tmp_path / "m", north.testing[:2]
    assert len(run(north.segment(out, good)).written) == 2
    target = out / f"{good[0].name}.png"
    corrected = np.full((64, 64), 1, np.uint8)
    Image.fromarray(corrected).save(target)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    cases = [Case("broken", tmp_path / "broken.png"), *good]
    report = run(north.segment(out, cases))
    assert "broken.png" in only_failure(report).message
    assert (report.written, report.skipped) == ([], [case.name for case in good])
    np.testing.assert_array_equal(pixels(target), corrected)
    assert len(run(north.segment(out, good, overwrite=True)).written) == 2
    assert (pixels(target) == 0).any()


def test_an_image_is_never_replaced_by_its_mask(north, published, tmp_path):
    north.install(published)
    image = shutil.copy(north.testing[0].image, tmp_path / "x.png")
    before = image.read_bytes()
    report = run(north.segment(tmp_path, [Case("x", image)], overwrite=True))
    assert report.written == []
    assert image.read_bytes() == before


def test_what_is_no_mask_is_not_replaced(north, published, tmp_path):
    north.install(published)
    out = tmp_path / "m"
    out.mkdir()
    target = out / f"{north.testing[0].name}.png"
    shutil.copy(north.testing[1].image, target)
    report = run(north.segment(out, north.testing[:1], overwrite=True))
    assert target.read_bytes() == north.testing[1].image.read_bytes()
    assert len(report.failures) == 1


def test_two_images_of_one_name_are_not_segmented_into_one_file(north, published, tmp_path):
    north.install(published)
    cases = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        image = shutil.copy(north.testing[number].image, tmp_path / str(number) / "same.png")
        cases.append(Case("same", image))
    report = run(north.segment(tmp_path / "m", cases))
    assert len(report.written) == 1
    assert len(report.failures) == 1
