"""Cases to bundles: what is made, what is not made twice, and what is refused."""

import shutil
from datetime import timedelta

import numpy as np
import pytest
import torch

from ppcmi_sf.bundle import peek
from ppcmi_sf.data import Case
from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.errors import (
    BundleError,
    ContactError,
    InputFileError,
    KeyFileError,
    ModelFileError,
    PPCMIError,
    ResourceError,
    StudyError,
    TrainingError,
)
from ppcmi_sf.home import Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.store import load_model, read_header, save_model
from ppcmi_sf.progress import run
from ppcmi_sf.transform import KeyedLatentTransform
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.outgoing import Addressed
from ppcmi_sf.workflows.protect import default_precision

CPU = torch.device("cpu")


# -- doing it again ---------------------------------------------------------------------


def test_only_what_is_missing_is_done(north, tmp_path):
    cases, out = north.testing, tmp_path / "q"
    first = run(north.queries(out, cases[:2]))
    second = run(north.queries(out))
    assert second.skipped == [case.name for case in cases[:2]]
    assert len(second.written) == 2
    second.written[0].unlink()
    third = run(north.queries(out))
    assert len(third.written) == 1
    assert first.written[0].is_file()
    # Another folder is another order; so is a changed precision.
    assert len(run(north.queries(tmp_path / "r")).written) == 4
    assert len(run(north.queries(out, precision="float32")).written) == 4
    assert run(north.queries(out)).written == []


def test_a_site_that_cuts_volumes_along_an_axis_takes_pictures_too(north, make_volume, tmp_path):
    folder = SiteFolder(north.folder)
    folder.save_record(folder.record().model_copy(update={"slice_axis": 0}))
    cases = [*north.testing[:1], make_volume(tmp_path / "stack.nii", 3)]
    report = run(north.queries(tmp_path / "q", cases))
    assert not report.failures
    assert report.items == 1 + 64
    assert not run(north.pairs(tmp_path / "p")).failures
    refused = run(north.queries(tmp_path / "r", cases, slice_axis=1)).failures
    assert [name for name, _ in refused] == [cases[0].name]


def test_noise_makes_another_query_and_other_pairs(north, server, tmp_path):
    out, noise = tmp_path / "q", LatentNoise(0.5)
    # The noise is drawn anew each time: of one image alone the coarsest scale has too few values.
    clean = run(north.queries(out, north.testing)).written
    noisy = run(north.queries(out, north.testing, noise=noise)).written
    assert run(north.queries(out, north.testing[:1], noise=noise)).skipped
    assert len(run(north.queries(out, north.testing[:1], noise=LatentNoise(0.6))).written) == 1
    assert run(north.queries(out, north.testing[:1])).skipped
    transform = KeyedLatentTransform(
        north.one.keys["north"].transform_share(), north.one.study, "image"
    )
    before, after = (
        [
            transform.recover(batch.latents["image"], batch.items)
            for batch in (server.read(path).batch for path in paths)
        ]
        for paths in (clean, noisy)
    )
    for name in before[0]:
        added = torch.cat([b[name] - a[name] for a, b in zip(before, after, strict=True)])
        assert float(added.std()) == pytest.approx(0.5, rel=0.1)
    pairs = tmp_path / "p"
    first = run(north.pairs(pairs, noise=noise)).written
    assert run(north.pairs(pairs, noise=noise)).written == []
    assert first and run(north.pairs(pairs)).written


def test_a_changed_image_is_protected_again(north, tmp_path):
    image = shutil.copy(north.testing[0].image, tmp_path / "x.png")
    moved = [Case("x", image)]
    run(north.queries(tmp_path / "q", moved))
    shutil.copy(north.testing[1].image, image)
    assert len(run(north.queries(tmp_path / "q", moved)).written) == 1


def test_a_query_for_another_recipient_is_another_query(north, tmp_path):
    other = Identity.generate("other-server").card
    run(north.queries(tmp_path / "q", north.testing[:1]))
    again = run(
        north.queries(tmp_path / "q", north.testing[:1], to=Addressed(north.party, [other]))
    )
    assert (len(again.written), again.skipped) == (1, [])


def test_what_an_earlier_identity_signed_is_made_again(north, tmp_path):
    """The server would refuse it as an unknown sender's."""
    cases, out = north.testing[:1], tmp_path / "q"
    run(north.queries(out, cases))
    run(north.pairs(tmp_path / "p", north.training[:4], copies=1))
    again = Party(north.party.home, Identity.generate("north"))
    to = Addressed(again, north.to_server.recipients)
    queries = run(north.queries(out, cases, to=to))
    assert (len(queries.written), queries.skipped) == (1, [])
    pairs = run(north.pairs(tmp_path / "p", north.training[:4], copies=1, to=to))
    assert (pairs.items, pairs.skipped) == (4, [])


def test_pairs_that_were_made_before_are_not_made_again(north, tmp_path):
    cases, out = north.training[:4], tmp_path / "p"
    first = run(north.pairs(out, cases, copies=1))
    assert (first.items, first.skipped) == (4, [])
    second = run(north.pairs(out, cases, copies=1))
    assert (second.written, second.skipped) == ([], [case.name for case in cases])
    assert north.noted()[-1:] == [first.written[0].stem]
    # More copies, another precision, other recipients or another folder are something else.
    other = Addressed(north.party, [*north.to_server.recipients, Identity.generate("b").card])
    for job in (
        north.pairs(out, cases, copies=2),
        north.pairs(out, cases, copies=1, precision="float16"),
        north.pairs(out, cases, copies=1, to=other),
        north.pairs(tmp_path / "elsewhere", cases, copies=1),
    ):
        assert len(run(job).written) == 1
    first.written[0].unlink()
    assert len(run(north.pairs(out, cases, copies=1)).written) == 1


def test_pairs_go_in_8_bits_and_queries_in_16_unless_told(north, server, make_study, tmp_path):
    pairs = run(north.pairs(tmp_path, north.training[:4], copies=1)).written
    queries = run(north.queries(tmp_path, north.testing[:1])).written
    for (path,), dtype in ((pairs, "I8"), (queries, "F16")):
        layout = {entry.name: entry.dtype for entry in peek(path, server.party.identity).layout}
        assert layout["image.bottleneck"] == dtype
    for study in (make_study(mapping="fused"), make_study(mapping="paper")):
        expected = "float16" if study.mapping == "paper" else "int8"
        assert default_precision("training", study) == expected
        assert default_precision("reply", study) == "float16"


def test_a_bundle_opens_for_every_recipient_and_for_nobody_else(north, server, south, tmp_path):
    both = Addressed(north.party, [server.card, south.card])
    (path,) = run(north.queries(tmp_path / "q", north.testing[:1], to=both)).written
    for reader in (server, south):
        header = peek(path, reader.party.identity)
        assert header.recipients == tuple(sorted([server.card.fingerprint, south.card.fingerprint]))
    with pytest.raises(BundleError, match="encrypted to others, not to 'north'"):
        peek(path, north.party.identity)


# -- keys and identities ----------------------------------------------------------------


def test_keys_of_another_site_or_study_are_refused(north, south, blind, tmp_path):
    for key, kind in ((south.key, KeyFileError), (blind.keys["north"], StudyError)):
        for job in (
            north.queries(tmp_path / "o", key=key),
            north.pairs(tmp_path / "o", key=key),
            north.reveal(north.replies, tmp_path / "o", key=key),
        ):
            with pytest.raises(kind) as caught:
                run(job)
            assert caught.value.hint
    assert not (tmp_path / "o").exists()


def test_a_rotated_key_makes_no_new_bundles_but_opens_old_replies(north, tmp_path):
    """From the moment on that the registry knows of the new one ('ppcmi key rotate' tells it)."""
    new = north.key.rotate()
    north.party.home.key_epochs.note(new)
    for job in (north.queries(tmp_path / "o"), north.pairs(tmp_path / "o")):
        with pytest.raises(KeyFileError, match="was rotated: epoch 2 is in use") as caught:
            run(job)
        assert "key of the new epoch" in caught.value.hint
    assert not (tmp_path / "o").exists()
    assert len(run(north.reveal(north.replies, tmp_path / "m", again=True)).written) == 4
    (path,) = run(north.queries(tmp_path / "n", north.testing[:1], key=new)).written
    header = peek(path, north.one.parties["server"].identity)
    assert (header.epoch, header.key_id) == (2, new.transform_share().key_id)


def test_the_first_bundle_of_a_new_key_retires_the_old_one(north, tmp_path):
    """Also where the rotation was done on another computer."""
    run(north.queries(tmp_path / "n", north.testing[:1], key=north.key.rotate()))
    with pytest.raises(KeyFileError, match="was rotated"):
        run(north.queries(tmp_path / "o"))


@pytest.mark.parametrize("from_day", [-400, 30])
def test_a_key_that_is_not_valid_today_makes_no_new_bundles(from_day, north, tmp_path):
    first = utc_today() + timedelta(days=from_day)
    span = Validity(first, first + timedelta(days=365))
    key = ClientKey(north.name, north.study.fingerprint, 1, north.key.secret, span)
    for job in (north.queries(tmp_path / "o", key=key), north.pairs(tmp_path / "o", key=key)):
        with pytest.raises(KeyFileError, match="makes no new bundles now") as caught:
            run(job)
        assert "ppcmi key rotate" in caught.value.hint
    assert not (tmp_path / "o").exists()
    assert len(run(north.reveal(north.replies, tmp_path / "m", key=key, again=True)).written) == 4


def test_an_expired_card_is_not_written_to(north, tmp_path):
    past = Validity(utc_today() - timedelta(days=20), utc_today() - timedelta(days=10))
    card = Identity.generate("late-server", past).card
    job = north.pairs(tmp_path / "o", to=Addressed(north.party, [card]), copies=1)
    with pytest.raises(ContactError, match="The card of 'late-server' is valid from"):
        run(job)
    report = run(north.queries(tmp_path / "o", to=Addressed(north.party, [card])))
    assert len(report.failures) == 4
    assert not list(tmp_path.glob("o/*"))
    with pytest.raises(ContactError, match="1 to 32 recipients"):
        run(north.pairs(tmp_path / "o", to=Addressed(north.party, []), copies=1))


# -- folders that are not as they should be ---------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("study.yaml", InputFileError),
        ("training.json", InputFileError),
        ("image_autoencoder.safetensors", ModelFileError),
        ("mask_autoencoder.safetensors", ModelFileError),
    ],
)
def test_damaged_site_folders_are_refused(name, kind, north, tmp_path):
    for content in (b"\xff\xfe damaged", None):
        if content is None:
            (north.folder / name).unlink()
        else:
            (north.folder / name).write_bytes(content)
        with pytest.raises(kind) as caught:
            run(north.queries(tmp_path / "q"))
        assert str(north.folder) in caught.value.message
        assert caught.value.hint


def test_a_damaged_registry_is_told(north, tmp_path):
    north.registry.path.write_bytes(b"\xff\xfe damaged" * 400)
    for job in (north.queries(tmp_path / "q"), north.reveal(north.replies, tmp_path / "m")):
        with pytest.raises(ResourceError, match="the registry cannot be used") as caught:
            run(job)
        assert str(north.registry.path) in caught.value.message
    assert not (tmp_path / "q").exists()


def test_swapped_autoencoders_are_refused(north):
    site = north.folder
    shutil.copy(site / "image_autoencoder.safetensors", site / "mask_autoencoder.safetensors")
    with pytest.raises(ModelFileError, match="not the mask autoencoder of site 'north'"):
        SiteFolder(site).load(north.key, CPU)


def test_a_folder_that_is_no_site_s_is_refused(north, tmp_path):
    north.folder = tmp_path / "none"
    for job in (north.queries(tmp_path / "q"), north.segment(tmp_path / "m")):
        with pytest.raises(InputFileError, match="not a site folder"):
            run(job)
    assert not north.folder.exists()


# -- bad cases in a batch ---------------------------------------------------------------


def test_bad_images_are_listed_and_the_others_protected(north, files, tmp_path):
    good = north.testing[0]
    (tmp_path / "broken.png").write_bytes(good.image.read_bytes()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    cases = [
        Case("broken", tmp_path / "broken.png"),
        Case("missing", tmp_path / "missing.png"),
        good,
        Case("empty", tmp_path / "empty.png"),
    ]
    before = len(north.noted())
    report = run(north.queries(tmp_path / "q", cases))
    assert [name for name, _ in report.failures] == ["broken", "missing", "empty"]
    for name, error in report.failures:
        assert f"{name}.png" in error.message
        assert error.hint
    assert files(tmp_path / "q") == [report.written[0].name]
    assert len(north.noted()) == before + 1


@pytest.mark.parametrize("name", ["2026-01-31T12:30", "x" * 252])
def test_an_image_whose_mask_could_have_no_name_is_not_sent(north, files, tmp_path, name):
    good = north.testing[0]
    report = run(north.queries(tmp_path / "q", [Case(name, good.image), good]))
    ((failed, error),) = report.failures
    assert failed == name and "name" in error.message and error.hint
    assert files(tmp_path / "q") == [report.written[0].name]


def test_latents_that_are_no_numbers_are_listed_and_leave_nothing(north, files, tmp_path):
    """What cannot be written was never noted, so the log has nothing to withdraw either."""
    path = SiteFolder(north.folder).model_file("image")
    header, model = read_header(path), Autoencoder(north.study, "image")
    load_model(path, model)
    with torch.no_grad():
        for value in model.encoder.parameters():
            value.mul_(1e30)
    save_model(path, model, header)
    noted = north.noted()
    report = run(north.queries(tmp_path / "q"))
    assert len(report.failures) == 4
    for _, error in report.failures:
        assert isinstance(error, BundleError)
        assert "values that float16 cannot" in error.message
    with pytest.raises(BundleError, match="values that float32 cannot"):
        run(north.pairs(tmp_path / "q", copies=1, precision="float32"))
    assert files(tmp_path / "q") == []
    assert north.noted() == noted
    assert north.events("withdrawn") == []


def test_all_pairs_bad_is_an_error_and_some_bad_are_listed(north, make_cases, tmp_path):
    masks = np.zeros((4, 64, 64), np.uint8)
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64), dtype=np.uint8)
    cases = make_cases(tmp_path / "data", images, masks)
    cases[1].mask.unlink()
    report = run(north.pairs(tmp_path / "q", cases, copies=1))
    assert [name for name, _ in report.failures] == ["case_001"]
    assert report.items == 3
    again = run(north.pairs(tmp_path / "q", cases, copies=1))
    assert [name for name, _ in again.failures] == ["case_001"]
    assert len(again.skipped) == 3
    for case in cases:
        case.image.unlink()
    with pytest.raises(TrainingError, match="No case could be used"):
        run(north.pairs(tmp_path / "q", cases))


# -- bundles and records ----------------------------------------------------------------


def test_pairs_are_divided_into_bundles_and_records(north, server, monkeypatch, tmp_path):
    """18 items of some 12 kB: bundles of at most 8, in records of 3, without a change."""
    key = north.one.keys["north"]
    transform = KeyedLatentTransform(key.transform_share(), north.one.study, "image")

    def recovered(batch):
        return transform.recover(batch.latents["image"], batch.items)["bottleneck"]

    monkeypatch.setattr("ppcmi_sf.workflows.pairs_plan.MAX_TRAINING_ITEMS", 8)
    monkeypatch.setattr("ppcmi_sf.bundle.header.RECORD_BYTES", 40_000)
    report = run(north.pairs(tmp_path / "p", north.training[:10], copies=2, precision="float16"))
    assert (len(report.written), report.items) == (3, 18)
    items, latents = [], []
    for path in report.written:
        header = peek(path, server.party.identity)
        assert header.items <= 8 and header.record_items == 3
        bundle = server.read(path)
        items += bundle.batch.items
        latents.append(recovered(bundle.batch))
        sent = north.registry.items_of(header.bundle_id)
        assert [item for item, _, _ in sent] == list(bundle.batch.items)
    assert len(set(items)) == 18
    monkeypatch.undo()
    job = north.pairs(tmp_path / "w", north.training[:10], copies=2, precision="float16")
    (whole,) = run(job).written
    assert not set(items) & set(server.read(whole).batch.items)  # each time other pseudonyms

    one, other = recovered(server.read(whole).batch), torch.cat(latents)
    # The same pairs, in whatever order they were shuffled.
    nearest = torch.cdist(one.flatten(1), other.flatten(1)).argmin(1)
    assert sorted(nearest.tolist()) == list(range(18))
    torch.testing.assert_close(one, other[nearest], atol=1e-2, rtol=1e-2)


def test_with_parts_every_patient_is_in_one_bundle(north, server, tmp_path):
    cases = north.training[:12]
    groups = {str(case.image.resolve()): case.group for case in cases}
    whole = run(north.pairs(tmp_path / "whole", cases, copies=2))
    report = run(north.pairs(tmp_path / "parts", cases, copies=2, parts=3))
    assert (len(whole.written), len(report.written)) == (1, 3)
    assert report.items == whole.items
    found = []
    for path in report.written:
        batch = server.read(path).batch
        sent = north.registry.items_of(peek(path, server.party.identity).bundle_id)
        apart = dict(zip(batch.items, batch.validation, strict=True))
        found.append({groups[source] for item, source, _ in sent if not apart[item]})
    assert all(found)
    assert len(set.union(*found)) == sum(len(part) for part in found)
    # The same in one bundle is another export, and the same once more is none.
    assert len(run(north.pairs(tmp_path / "parts", cases, copies=2)).written) == 1
    assert run(north.pairs(tmp_path / "parts", cases, copies=2, parts=3)).written == []


def test_there_are_no_more_parts_than_patients(north, tmp_path):
    with pytest.raises(PPCMIError, match="cannot be split into 50 parts") as caught:
        run(north.pairs(tmp_path / "p", north.training[:12], parts=50))
    assert caught.value.hint
    assert not list(tmp_path.rglob("*.ppcmi"))


def test_slices_of_a_volume_are_numbered(north, server, make_volume, tmp_path):
    case = make_volume(tmp_path / "stack.nii", 3)
    (path,) = run(north.queries(tmp_path / "q", [case])).written
    known = north.registry.items_of(path.stem)
    assert [number for _, _, number in known] == [0, 1, 2]
    assert [item for item, _, _ in known] == list(server.read(path).batch.items)
