"""The worker's tasks for bundles, called directly: protect, exchange, reveal."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from napari_ppcmi._protocol.bundles import (
    CaseInfo,
    ExportLog,
    FindCases,
    KeepLayer,
    MapHere,
    OpenRevealed,
    ReadLog,
    Reveal,
    ReviewExport,
    ScanFolder,
    TakeIn,
    WriteBundles,
    WriteShare,
)
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.tasks import exchange, protect, reveal
from ppcmi_sf import progress, secretfile
from ppcmi_sf.bundle import BundleHeader
from ppcmi_sf.errors import ContactError, InputFileError, KeyFileError, PPCMIError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.imaging import read_image
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.workflows import folders
from ppcmi_sf.workflows.folders import SiteFolder


@pytest.fixture
def samples(repository) -> Path:
    return repository / "sample_data"


@pytest.fixture
def desk(tmp_path, samples, monkeypatch) -> Desk:
    monkeypatch.setattr(secretfile, "DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
    site = tmp_path / "site"
    shutil.copytree(samples / "site", site)
    passphrase = SecretStr((site / "passphrase.txt").read_text().strip())
    home = Home(tmp_path / "home")
    identity = Identity.generate("north")
    identity.save(home.identity_file, passphrase)
    key = ClientKey.load(site / "north.ppcmikey", passphrase)
    return Desk(home=home, key=key, party=Party(home, identity), site_folder=site)


@pytest.fixture
def cases(samples) -> tuple[CaseInfo, ...]:
    images = sorted((samples / "ultrasound" / "images").glob("north_00?.png"))
    return protect.find_cases(Desk(), FindCases(paths=tuple(images))).cases


@pytest.fixture
def partner(desk):
    """Somebody else, whom the site knows."""
    identity = Identity.generate("server")
    desk.home.contacts.add(identity.card)
    return identity


def own(desk) -> str:
    return desk.party.identity.fingerprint


def write(desk, cases, out, *recipients, **more):
    wanted = ReviewExport(
        purpose="query", cases=cases, recipients=recipients or (own(desk),), **more
    )
    return progress.run(protect.write_bundles(desk, WriteBundles(reviewed=wanted, out=out)))


def scan(desk, folder):
    return progress.run(exchange.scan_folder(desk, ScanFolder(folder=folder))).bundles


def states(desk, folder):
    return [bundle.state for bundle in scan(desk, folder)]


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def names_of(review):
    return [name.split(":")[0] for name, _ in review.header]


@pytest.mark.parametrize("purpose", ["query", "training"])
def test_a_review_tells_all_and_writes_nothing(desk, partner, cases, tmp_path, samples, purpose):
    masks = samples / "ultrasound" / "masks"
    cases = tuple(c.model_copy(update={"mask": masks / c.image.name}) for c in cases)
    log_before, before = desk.home.log.verify(), files_below(tmp_path)
    recipients = (own(desk), partner.fingerprint)
    request = ReviewExport(purpose=purpose, cases=cases, recipients=recipients, copies=3)
    review = progress.run(protect.review_export(desk, request))

    assert set(names_of(review)) == set(BundleHeader.model_fields)
    fields = dict(review.header)
    assert fields["bundle_id"] == "random, drawn when it is written"
    assert partner.fingerprint in fields["recipients"]
    sent_as = {"query": "F16, ", "training": "I8, "}[purpose]
    assert fields["layout: image.bottleneck"].startswith(sent_as)
    assert {info.name for info in review.recipients} == {"north", "server"}
    for picture in review.arrays:
        assert picture.shape == (128, 128) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 1
    assert review.correlation < 0.6
    assert review.picture_of == "north_000" and not review.problems
    assert (desk.home.log.verify(), files_below(tmp_path)) == (log_before, before)

    request = WriteBundles(reviewed=request, out=tmp_path / "out")
    written = progress.run(protect.write_bundles(desk, request)).written
    assert len(written) == review.bundles == (2 if purpose == "query" else 1)
    assert sum(path.stat().st_size for path in written) == review.byte_count
    assert review.items == (2 if purpose == "query" else 6)


def test_a_site_that_cuts_volumes_along_an_axis_reviews_pictures_too(desk, cases):
    folder = SiteFolder(desk.site_folder)
    folder.save_record(folder.record().model_copy(update={"slice_axis": 0}))
    request = ReviewExport(purpose="query", cases=cases, recipients=(own(desk),))
    review = progress.run(protect.review_export(desk, request))
    assert not review.problems and review.items == len(cases)


def test_a_review_needs_no_mapping_network_and_lists_problems(desk, cases, tmp_path):
    (desk.site_folder / "mapping_network.safetensors").unlink()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    cases = (CaseInfo(name="broken", image=broken), *cases)
    request = ReviewExport(purpose="query", cases=cases, recipients=(own(desk),))
    review = progress.run(protect.review_export(desk, request))
    assert (review.bundles, review.picture_of) == (2, "north_000")
    assert [problem.name for problem in review.problems] == ["broken"]
    with pytest.raises(InputFileError, match="broken"):
        only = request.model_copy(update={"cases": cases[:1]})
        progress.run(protect.review_export(desk, only))


def with_masks(cases):
    masks = Path(cases[0].image).parents[1] / "masks"
    return tuple(case.model_copy(update={"mask": masks / case.image.name}) for case in cases)


@pytest.mark.parametrize(("parts", "limit"), [(2, 512), (1, 4), (2, 1)])
def test_bundles_of_patients_are_reviewed_as_they_are_written(
    desk, cases, tmp_path, monkeypatch, parts, limit
):
    monkeypatch.setattr("ppcmi_sf.workflows.pairs_plan.MAX_TRAINING_ITEMS", limit)
    request = ReviewExport(
        purpose="training", cases=with_masks(cases), recipients=(own(desk),), copies=3, parts=parts
    )
    review = progress.run(protect.review_export(desk, request))
    assert (review.bundles, review.items) == (2, 6)
    asked = WriteBundles(reviewed=request, out=tmp_path / "out")
    written = progress.run(protect.write_bundles(desk, asked)).written
    assert [scanned.items for scanned in scan(desk, tmp_path / "out")] == [3, 3]
    assert sum(path.stat().st_size for path in written) == review.byte_count
    more = request.model_copy(update={"parts": 3})
    with pytest.raises(PPCMIError, match="cannot be split into 3 parts"):
        progress.run(protect.review_export(desk, more))


def spoil(mask: Path, how: str) -> None:
    labels = np.asarray(Image.open(mask))
    if how == "not readable":
        mask.write_bytes(b"no mask")
    elif how == "another size":
        Image.fromarray(labels[1:]).save(mask)
    elif how == "a class too many":
        Image.fromarray(np.full_like(labels, 7)).save(mask)
    else:
        mask.unlink()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("not readable", "damaged"),
        ("another size", "but its image is"),
        ("a class too many", "holds class 7"),
        ("gone", "no such file"),
    ],
)
def test_masks_of_training_pairs_are_checked_before_the_yes(
    desk, cases, tmp_path, samples, how, told
):
    pairs = []
    for case in cases:
        mask = tmp_path / "masks" / case.image.name
        mask.parent.mkdir(exist_ok=True)
        mask.write_bytes((samples / "ultrasound" / "masks" / case.image.name).read_bytes())
        pairs.append(case.model_copy(update={"mask": mask}))
    spoil(pairs[0].mask, how)
    request = ReviewExport(
        purpose="training", cases=tuple(pairs), recipients=(own(desk),), copies=2
    )
    review = progress.run(protect.review_export(desk, request))
    assert (review.items, review.picture_of) == (2, "north_001")
    (problem,) = review.problems
    assert problem.name == "north_000" and told in problem.failure.message
    assert pairs[0].mask.name in problem.failure.message
    asked = WriteBundles(reviewed=request, out=tmp_path / "out")
    written = progress.run(protect.write_bundles(desk, asked))
    assert [one.name for one in written.problems] == ["north_000"]
    assert sum(path.stat().st_size for path in written.written) == review.byte_count
    alone = request.model_copy(update={"cases": (pairs[0],)})
    with pytest.raises(InputFileError, match=told):
        progress.run(protect.review_export(desk, alone))
    as_query = request.model_copy(update={"purpose": "query"})
    assert not progress.run(protect.review_export(desk, as_query)).problems


def masks_of(desk, queries, folder):
    asked = MapHere(queries=queries, out=folder / "inbox", device="cpu")
    replies = progress.run(exchange.map_here(desk, asked)).written
    request = Reveal(replies=replies, out=folder / "masks", device="cpu")
    found = progress.run(reveal.reveal(desk, request)).masks
    return {mask.name: np.asarray(Image.open(mask.path)) for mask in found}


def test_noise_is_told_before_the_yes_and_is_in_what_is_written(desk, cases, tmp_path):
    plain = ReviewExport(purpose="query", cases=cases, recipients=(own(desk),), device="cpu")
    assert progress.run(protect.review_export(desk, plain)).noise == ""
    noisy = plain.model_copy(update={"noise": 50.0})
    told = progress.run(protect.review_export(desk, noisy)).noise
    assert told.startswith("noise of 50 (bound 3)") and "sent once" in told
    pairs = noisy.model_copy(update={"purpose": "training", "copies": 3, "noise": 0.5})
    review = progress.run(
        protect.review_export(desk, pairs.model_copy(update={"cases": with_masks(cases)}))
    )
    assert "sent 6 times" in review.noise and "no protection" in review.noise

    found = {}
    for name, level in (("once", 0.0), ("again", 0.0), ("noisy", 50.0)):
        queries = write(desk, cases, tmp_path / name / "out", noise=level, device="cpu").written
        found[name] = masks_of(desk, queries, tmp_path / name)
    assert len(found["once"]) == 2
    for case, mask in found["once"].items():
        assert (found["again"][case] == mask).mean() > 0.999  # float16, under other transforms
        assert (found["noisy"][case] == mask).mean() < 0.95


def test_networks_are_loaded_once_for_a_whole_round_trip(desk, cases, tmp_path, monkeypatch):
    loads = []
    load_model = folders.load_model
    monkeypatch.setattr(
        folders,
        "load_model",
        lambda path, model: loads.append(path.name) or load_model(path, model),
    )
    request = ReviewExport(purpose="query", cases=cases, recipients=(own(desk),), device="cpu")
    progress.run(protect.review_export(desk, request))
    assert len(loads) == 3
    queries = write(desk, cases, tmp_path / "outbox", device="cpu").written
    loads.clear()
    asked = MapHere(queries=queries, out=tmp_path / "inbox", device="cpu")
    replies = progress.run(exchange.map_here(desk, asked)).written
    request = Reveal(replies=replies, out=tmp_path / "masks", device="cpu")
    revealed = progress.run(reveal.reveal(desk, request))
    for case in revealed.masks:
        progress.run(reveal.open_revealed(desk, OpenRevealed(case=case, device="cpu")))
    assert len(revealed.masks) == 2 and loads == []
    (desk.site_folder / "mapping_network.safetensors").unlink()
    for case in revealed.masks:  # the site alone is kept, too
        progress.run(reveal.open_revealed(desk, OpenRevealed(case=case, device="cpu")))
    assert len(loads) == 2


def test_nothing_is_reviewed_for_strangers_or_while_locked(desk, cases):
    request = ReviewExport(purpose="query", cases=cases, recipients=("ab" * 32,))
    with pytest.raises(ContactError, match="no contact"):
        progress.run(protect.review_export(desk, request))
    desk.lock()
    with pytest.raises(KeyFileError):
        progress.run(protect.review_export(desk, request))


def test_from_image_to_mask_without_a_server(desk, cases, tmp_path):
    out, inbox, masks = tmp_path / "outbox", tmp_path / "inbox", tmp_path / "masks"
    written = write(desk, cases, out)
    assert len(written.written) == 2 and not written.problems
    assert write(desk, cases, out).skipped == ("north_000", "north_001")
    assert states(desk, out) == ["own", "own"]

    answered = progress.run(
        exchange.map_here(desk, MapHere(queries=written.written, out=inbox, device="cpu"))
    )
    assert len(answered.written) == 2 and not answered.problems
    found = scan(desk, inbox)
    assert [(one.state, one.kind, one.sender, one.items) for one in found] == [
        ("verified", "reply", "north", 1)
    ] * 2
    assert found[0].file.stem == found[0].bundle_id and found[0].recipients == ("north",)
    assert states(desk, inbox) == ["verified"] * 2  # from memory

    data = bytearray(found[0].file.read_bytes())
    data[-200] ^= 1
    tampered = tmp_path / "elsewhere" / found[0].file.name
    tampered.parent.mkdir()
    tampered.write_bytes(data)
    assert states(desk, tampered.parent) == ["changed"]

    request = Reveal(replies=answered.written, out=masks, device="cpu")
    revealed = progress.run(reveal.reveal(desk, request))
    assert not revealed.problems and len(revealed.masks) == 2
    assert states(desk, inbox) == ["already used"] * 2
    for case in revealed.masks:
        mask = progress.run(reveal.open_revealed(desk, OpenRevealed(case=case)))
        image = read_image(Path(case.source))
        wanted = progress.run(desk.segmenter("cpu").segment(image))
        # The bundles carried float16.
        assert (mask.arrays[0] == wanted).mean() > 0.999 and mask.arrays[0].any()
        assert mask.geometry == image.geometry
        told = mask.provenance
        assert (told.query_id, told.reply_id) == (case.query_id, case.reply_id)
        assert told.network == desk.segmenter("cpu").network and told.server == ""
        assert told.encoders == desk.segmenter("cpu").encoders
        gone = case.model_copy(update={"source": str(tmp_path / "gone.png")})
        again = progress.run(reveal.open_revealed(desk, OpenRevealed(case=gone)))
        assert np.array_equal(again.arrays[0], mask.arrays[0])


def test_what_a_scan_tells_of_others(desk, partner, cases, tmp_path):
    out = tmp_path / "outbox"
    write(desk, cases[:1], out, partner.fingerprint)
    (mine,) = scan(desk, out)
    assert (mine.state, mine.kind, mine.sender) == ("own", "query", "north")
    assert mine.recipients == ("server",)
    renamed = tmp_path / "renamed" / "query.ppcmi"
    renamed.parent.mkdir()
    shutil.copy(mine.file, renamed)
    assert states(desk, renamed.parent) == ["own"]
    data = bytearray(mine.file.read_bytes())
    data[-200] ^= 1
    (renamed.parent / mine.file.name).write_bytes(data)
    assert sorted(states(desk, renamed.parent)) == ["changed", "own"]

    theirs = Desk(party=Party(Home(tmp_path / "theirs"), partner))
    assert states(theirs, out) == ["unknown sender"]
    theirs.party.home.contacts.add(desk.party.identity.card)
    assert states(theirs, out) == ["verified"]
    theirs.party.home.contacts.revoke("north")
    assert states(theirs, out) == ["revoked sender"]
    stranger = Desk(party=Party(Home(tmp_path / "third"), Identity.generate("third")))
    assert states(stranger, out) == ["for others"]

    desk.lock()
    (locked,) = scan(desk, out)
    assert (locked.state, locked.problem) == ("not readable", "Unlock the identity to check it.")


def test_a_scan_looks_at_plain_files_alone(desk, tmp_path):
    folder = tmp_path / "inbox"
    assert states(desk, folder) == []
    (folder / "a.ppcmi").mkdir(parents=True)
    (folder / "b.ppcmi").write_bytes(b"nothing")
    (folder / "c.ppcmi").symlink_to(folder / "b.ppcmi")
    (folder / "d.txt").write_bytes(b"nothing")
    (found,) = scan(desk, folder)
    assert (found.file.name, found.state) == ("b.ppcmi", "changed")
    assert "not a latent bundle" in found.problem


def test_only_bundle_files_are_taken_in(desk, cases, tmp_path):
    (good,) = write(desk, cases[:1], tmp_path / "outbox").written
    link, folder, text = (tmp_path / name for name in ("l.ppcmi", "f.ppcmi", "t.txt"))
    link.symlink_to(good)
    folder.mkdir()
    text.write_bytes(good.read_bytes())
    named = tmp_path / "north patient.ppcmi"
    named.write_bytes(b"another")
    inbox = tmp_path / "inbox"
    request = TakeIn(files=(good, link, folder, text, named), folder=inbox)
    result = progress.run(exchange.take_in(desk, request))
    assert [problem.name for problem in result.problems] == ["l.ppcmi", "f.ppcmi", "t.txt"]
    assert result.written[0] == inbox / good.name
    assert "patient" not in result.written[1].name
    again = progress.run(exchange.take_in(desk, request))
    assert again.skipped == (good.name, named.name) and not again.written
    (inbox / good.name).write_bytes(b"something else")
    kept = progress.run(exchange.take_in(desk, request.model_copy(update={"files": (good,)})))
    assert kept.written[0].name != good.name
    assert (inbox / good.name).read_bytes() == b"something else"
    assert len(list(inbox.iterdir())) == 3


@pytest.mark.parametrize("shape", [(12, 20, 1), (6, 7, 8, 1), (12, 20, 3), (6, 7, 8, 3)])
def test_a_layer_is_kept_as_it_is(desk, tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    spacing = (0.5, 0.25, 2.0)[: len(shape) - 1]
    request = KeepLayer(
        arrays=(values,),
        name="Doe, Jane / ../scan",
        folder=tmp_path / "layers",
        spacing=spacing,
        has_physical_size=True,
    )
    info = protect.keep_layer(desk, request)
    image = read_image(info.image)
    assert np.array_equal(image.data, values)
    assert image.geometry.spacing == pytest.approx(spacing)
    stamp = info.image.stat().st_mtime_ns
    assert protect.keep_layer(desk, request) == info
    assert info.image.stat().st_mtime_ns == stamp
    other = request.model_copy(update={"arrays": (values + 1,)})
    assert protect.keep_layer(desk, other).image != info.image
    assert info.image.parent == tmp_path / "layers"


def test_a_layer_that_cannot_be_kept(desk, tmp_path):
    request = KeepLayer(
        arrays=(np.full((4, 4, 1), np.nan, np.float32),),
        name="scan",
        folder=tmp_path,
        spacing=(1, 1),
        has_physical_size=False,
    )
    with pytest.raises(InputFileError, match="finite"):
        protect.keep_layer(desk, request)


def test_cases_of_folders_files_and_nothing(desk, samples, tmp_path):
    folder = samples / "ultrasound"
    paths = (folder, folder / "images" / "north_000.png", tmp_path / "gone.png")
    found = protect.find_cases(desk, FindCases(paths=paths, need_masks=False))
    assert len(found.cases) == 6 and found.cases[0].mask is not None
    assert [problem.name for problem in found.problems] == ["gone.png"]
    alone = FindCases(paths=(paths[1],), need_masks=True)
    assert not protect.find_cases(desk, alone).cases


def test_a_share_goes_to_a_known_server_and_into_the_log(desk, partner, tmp_path):
    file = tmp_path / "north.ppcmishare"
    with pytest.raises(ContactError):
        protect.write_share(desk, WriteShare(recipient=own(desk), file=file))
    request = WriteShare(recipient=partner.fingerprint, file=file)
    assert protect.write_share(desk, request).file == file
    with pytest.raises(KeyFileError, match="no transform share"):
        taken = desk.site_folder / "north.ppcmikey"
        protect.write_share(desk, request.model_copy(update={"file": taken}))
    log = exchange.read_log(Desk(), ReadLog(home=desk.home.root))
    assert (log.rows[0].event, log.rows[0].peers, log.problem) == ("share sent", ("server",), "")
    assert log.head == desk.home.log.verify()
    exchange.export_log(desk, ExportLog(home=desk.home.root, file=tmp_path / "log.csv"))
    assert "share sent" in (tmp_path / "log.csv").read_text()


def test_networks_that_were_loaded_for_a_key_that_is_locked_are_not_kept(desk, monkeypatch):
    from ppcmi_sf.workflows.segment import Segmenter

    load = Segmenter.load

    def load_slowly(*given):
        loaded = load(*given)
        desk.lock()  # as another thread does meanwhile
        return loaded

    monkeypatch.setattr(Segmenter, "load", load_slowly)
    with pytest.raises(KeyFileError, match="locked while"):
        desk.segmenter("cpu")
    assert desk._segmenter is None and desk._site is None
