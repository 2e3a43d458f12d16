"""The whole chain through files: what three sites and a server get out of it."""

import os
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.bundle import open_bundle, peek
from ppcmi_sf.progress import run

SITE = "north"


def queries_of(one, name=SITE):
    return sorted(one.queries(name).iterdir())


def replies_of(one, name=SITE):
    return sorted(one.replies(name).iterdir())


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


# -- what comes out ---------------------------------------------------------------------


def test_masks_are_good(both):
    scores = {name: both.dice(name) for name in both.keys}
    print(f"\n{both.study.arrangement}: Dice {scores}")
    assert min(scores.values()) > 0.75
    assert np.mean(list(scores.values())) > 0.8


def test_masks_have_names_and_sizes_of_the_images(both, files):
    for name, cases in both.testing.items():
        assert files(both.masks(name)) == sorted(f"{case.name}.png" for case in cases)
        for case in cases:
            mask = pixels(both.masks(name) / f"{case.name}.png")
            assert mask.shape == pixels(case.image).shape
            assert set(np.unique(mask)) <= {0, 1}


def test_reports_count(both):
    for name in both.keys:
        trained = both.site_reports[name]
        assert trained.training_slices == 14
        assert trained.validation_slices == 2
        assert trained.failures == []
        pairs = both.pair_reports[name]
        assert pairs.items == 14 * 3 + 2
        assert pairs.bytes == sum(path.stat().st_size for path in pairs.written)
        assert len(both.query_reports[name].written) == 4
        assert len(both.reveal_reports[name].written) == 4
    assert both.server_report.pairs == dict.fromkeys(sorted(both.keys), 44)


def test_folders_hold_what_they_should_and_no_leftovers(both, files):
    plain = {name for name in files(both.site(SITE)) if name != ".ppcmi.lock"}
    assert plain == {
        "image_autoencoder.safetensors",
        "mask_autoencoder.safetensors",
        "pairs.json",
        "study.yaml",
        "training.json",
    }
    shares = {
        f"shares/{name}.{key.transform_share().key_id}.{both.card(name).fingerprint[:16]}.ppcmishare"
        for name, key in both.keys.items()
    }
    plain = {name for name in files(both.server) if name != ".ppcmi.lock"}
    assert plain == {"mapping_network.safetensors", "study.yaml"} | (
        shares if both.study.arrangement == "escrow" else set()
    )
    for name in both.parties:
        assert files(both.home(name)) == ["identity.ppcmiid", "registry.sqlite"]
    assert not [name for name in files(both.root) if ".part." in name or "checkpoint" in name]


def test_validation_items_are_marked_and_not_augmented(both, open_server):
    bundle = open_server(both).read(both.pair_reports[SITE].written[0])
    assert len(bundle.batch.items) == 44
    assert sorted(bundle.batch.validation) == [False] * 42 + [True] * 2


def test_bundles_are_named_by_their_random_ids(both):
    server = both.parties["server"].identity
    for path in [*both.bundles, *queries_of(both)]:
        assert path.name == f"{peek(path, server).bundle_id}.ppcmi"
    for path in replies_of(both):
        assert path.stem == peek(path, both.parties[SITE].identity).bundle_id


# -- what stays where it is -------------------------------------------------------------


def test_no_secret_is_in_any_file_that_is_not_its_own(both, files):
    """Nor is a share in the clear: the server keeps it as it came."""
    secrets = [key.secret for key in both.keys.values()]
    secrets += [key.transform_share().secret for key in both.keys.values()]
    for party in both.parties.values():
        secrets += [party.identity.sign_secret, party.identity.encrypt_secret]
    spellings = [spelt for s in secrets for spelt in (s, s.hex().encode())]
    for name in files(both.root):
        data = (both.root / name).read_bytes()
        assert not [spelt for spelt in spellings if spelt in data], name


def test_bundles_say_nothing_of_case_path_or_date(both):
    """Case names are those of patients here, with the year of their birth."""
    paths = [*both.bundles, *queries_of(both), *replies_of(both)]
    assert len(paths) == 3 + 4 + 4
    readers = [both.parties["server"], both.parties[SITE]]
    random = {"bundle_id", "study", "sender", "recipients", "key_id", "model"}
    words = ["Doe", "Jane", "png", "images", "sites", "queries", "1961", os.sep]
    words += [str(datetime.now(UTC).year), str(both.root), both.root.parent.name]
    for path in paths:
        # Long words alone: short ones come about by chance among random bytes.
        data = path.read_bytes()
        for word in ("Doe-Jane", "north", "south-1", "manifest", str(both.root)):
            assert word.encode() not in data, (word, path.name)
        reader = readers[path in replies_of(both)]
        with open_bundle(path, reader.identity, reader.sender) as bundle:
            told = str(bundle.header.model_dump(exclude=random))
            tensors = [name for record in bundle.records() for name in record]
        for word in words:
            assert word not in told, (word, path.name)
        assert set(tensors) <= {entry.name for entry in bundle.header.layout}


def test_sizes_of_queries_tell_no_case(both):
    assert len({path.stat().st_size for path in queries_of(both)}) == 1


# -- what is remembered -----------------------------------------------------------------


def entries_of(party, event):
    return [entry for entry in party.home.log.entries() if entry.event == event]


def assert_matches(entries, paths, reader, peer_of):
    """Each bundle on disk has its entry, with the very same digest, items and peers."""
    by_id = {entry.bundle_id: entry for entry in entries}
    assert sorted(by_id) == sorted(path.stem for path in paths)
    assert len(by_id) == len(entries)
    for path in paths:
        with open_bundle(path, reader.identity, reader.sender) as bundle:
            header, entry = bundle.header, by_id[bundle.header.bundle_id]
            assert entry.digest == bundle.digest
        assert entry.items == header.items
        assert entry.file_bytes == path.stat().st_size
        assert entry.peers == peer_of(header)
        assert (entry.kind, entry.study, entry.model) == (header.kind, header.study, header.model)
        assert (entry.key_id, entry.epoch) == (header.key_id, header.epoch)


def test_the_disclosure_logs_tell_what_is_on_disk(both):
    server = both.parties["server"]
    server.home.log.verify()
    came = [*both.bundles]
    went = []
    for name in both.keys:
        site = both.parties[name]
        site.home.log.verify()
        sent = [*both.pair_reports[name].written, *queries_of(both, name)]
        assert_matches(entries_of(site, "sent"), sent, server, lambda h: h.recipients)
        replies = replies_of(both, name)
        assert_matches(entries_of(site, "received"), replies, site, lambda h: (h.sender,))
        assert [entry.epoch for entry in entries_of(site, "key made")] == [1]
        assert entries_of(site, "withdrawn") == []
        came += queries_of(both, name)
        went.append((name, replies))
    assert_matches(entries_of(server, "received"), came, server, lambda h: (h.sender,))
    sent = {entry.bundle_id: entry for entry in entries_of(server, "sent")}
    assert len(sent) == 12
    for name, replies in went:
        for path in replies:
            assert sent[path.stem].peers == (both.card(name).fingerprint,)


def test_shares_are_noted_when_they_are_used(both):
    noted = entries_of(both.parties["server"], "share received")
    wanted = both.keys if both.study.arrangement == "escrow" else {}
    assert {entry.peers: entry.key_id for entry in noted} == {
        (both.card(name).fingerprint,): key.transform_share().key_id for name, key in wanted.items()
    }


def test_the_log_names_no_case_and_no_path(both):
    for party in both.parties.values():
        text = str([entry.model_dump() for entry in party.home.log.entries()])
        for word in ("Doe", "Jane", "png", str(both.root), "north"):
            assert word not in text


def test_the_registry_names_every_item_that_went_out(both, open_server):
    server = open_server(both)
    for name in both.keys:
        registry = both.parties[name].home.registry
        (path,) = both.pair_reports[name].written
        bundle = server.read(path)
        known = registry.items_of(bundle.header.bundle_id)
        assert [item for item, _, _ in known] == list(bundle.batch.items)
        sources = [source for _, source, _ in known]
        assert set(sources) == {str(case.image.resolve()) for case in both.training[name]}
        assert {slice_number for _, _, slice_number in known} == {0}
        # 14 slices three times, and the 2 of the patient that was set apart, once.
        apart = {s for s, alone in zip(sources, bundle.batch.validation, strict=True) if alone}
        assert Counter(sources) == {s: 1 if s in apart else 3 for s in set(sources)}
        assert len(apart) == 2
        for query in queries_of(both, name):
            items = server.read(query).batch.items
            ((item, source, number),) = registry.items_of(query.stem)
            assert ((item,), number) == (items, 0)
            assert source in {str(case.image.resolve()) for case in both.testing[name]}


def test_pseudonyms_never_come_twice(both, open_server):
    server = open_server(both)
    paths = [*both.bundles, *queries_of(both)]
    items = [item for path in paths for item in server.read(path).batch.items]
    assert len(set(items)) == len(items) == 3 * 44 + 4


# -- again, and in other precisions -----------------------------------------------------


def test_what_is_done_is_skipped(both, open_site, open_server, files):
    site, server, before = open_site(both), open_server(both), files(both.root)
    reports = [
        run(site.queries(both.queries(SITE))),
        run(server.map(queries_of(both), both.replies(SITE))),
        run(site.reveal(replies_of(both), both.masks(SITE))),
    ]
    for report in reports:
        assert (report.written, len(report.skipped), report.failures) == ([], 4, [])
    assert files(both.root) == before
    site.party.home.log.verify()
    assert len(site.events("sent")) == 5


@pytest.mark.parametrize(("precision", "dtype"), [("int8", "I8"), ("float32", "F32")])
def test_every_precision_goes_through_the_whole_chain(
    precision, dtype, escrow, open_site, open_server, tmp_path
):
    """A server that learned from such pairs, and queries and replies of such numbers."""
    server, sites = open_server(escrow), [open_site(escrow, name) for name in escrow.keys]
    bundles = [
        path
        for site in sites
        for path in run(site.pairs(tmp_path / "p", precision=precision, copies=1)).written
    ]
    report = run(server.train(tmp_path / "other", bundles))
    assert report.pairs == dict.fromkeys(escrow.keys, 16)

    north = sites[0]
    queries = run(north.queries(tmp_path / "q", precision=precision)).written
    replies = run(server.map(queries, tmp_path / "r", precision=precision)).written
    masks = run(north.reveal(replies, tmp_path / "m")).written
    assert len(masks) == 4
    for path in (*bundles, *queries):
        layout = {entry.name: entry.dtype for entry in peek(path, server.party.identity).layout}
        assert layout["image.bottleneck"] == dtype
        assert ("image.bottleneck.scale" in layout) == (precision == "int8")
    layout = {entry.name: entry.dtype for entry in peek(replies[0], north.party.identity).layout}
    assert layout["mask.skip3"] == dtype
    different = [(pixels(path) != pixels(escrow.masks(SITE) / path.name)).mean() for path in masks]
    print(f"\n{precision} against float16: {np.mean(different):.5f} of the pixels differ")
    assert np.mean(different) < 0.01
    sizes = [queries[0].stat().st_size, queries_of(escrow)[0].stat().st_size]
    assert (sizes[0] < 0.75 * sizes[1]) if precision == "int8" else (sizes[0] > 1.5 * sizes[1])
