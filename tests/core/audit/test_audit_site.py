"""``ppcmi audit`` from files to files: no name of a case, nothing half-written, plain errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from typer.main import get_command

from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.run import data_of
from ppcmi_sf.data import Case
from ppcmi_sf.dates import valid_from_today
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import SiteLink, weights_id
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.progress import run
from ppcmi_sf.training.autoencoders import AutoencoderOptions
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.workflows.audit_site import AuditSources, _load_public, audit_site, load_subject
from ppcmi_sf.workflows.folders import SiteFolder, save_mapping_network
from ppcmi_sf.workflows.train_site import train_site

CPU = torch.device("cpu")
OPTIONS = AutoencoderOptions(
    fit=FitOptions(epochs=3, batch_size=6, learning_rate=6e-3, seed=3), augment=False
)
TINY = AuditOptions(seed=1, quick=True, items=4, train_steps=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory, ellipses, make_cases, audit_study):
    """Two trained sites, a key, public images."""
    root = tmp_path_factory.mktemp("audited")
    study = audit_study
    (root / "pass").write_text("correct horse battery\n")
    (root / "pass").chmod(0o600)
    cases = {}
    for number, name in enumerate(("north", "south", "public")):
        prefix = "Doe-Jane-19" if name == "north" else f"Roe-{name}"
        images, masks = ellipses(number, 12)
        cases[name] = make_cases(root / "data" / name, images, masks, prefix)
        with (root / "data" / name / "manifest.csv").open("w") as table:
            table.write("file,group\n")
            table.writelines(f"{case.image.name},{case.group}\n" for case in cases[name])
    for name in ("north", "south"):
        run(train_site(root / name, study, name, cases[name], OPTIONS, device=CPU))
    # A key of its own in each run would be another figure in each run, and four items are few.
    key = ClientKey("north", study.fingerprint, 1, bytes(range(32)), valid_from_today())
    key.save(root / "north.ppcmikey", read_passphrase_file(root / "pass"))
    return root, cases, key


def line(root, out, *more):
    return [
        "audit",
        str(root / "north"),
        *("--data", str(root / "data" / "north"), "--key", str(root / "north.ppcmikey")),
        *("--out", str(out), "--passphrase-file", str(root / "pass"), "--device", "cpu"),
        *more,
    ]


def test_the_command_writes_a_report_without_a_name(files, tmp_path):
    from ppcmi_sf.cli.app import app

    root, _, key = files
    chosen = ("--attack", "wrong-key", "--attack", "cross-decoder", "--items", "4", "--quick")
    more = ("--partner", str(root / "south"), "--public", str(root / "data" / "public"), "--json")
    found = CliRunner().invoke(get_command(app), line(root, tmp_path, *chosen, *more))
    assert found.exit_code == 0, found.output
    fields = json.loads(found.stdout)
    assert [result["attack"]["id"] for result in fields["results"]] == [
        "cross-decoder",
        "wrong-key",
    ]
    assert fields["key_id"] == key.transform_share().key_id
    written = "".join((tmp_path / name).read_text("utf-8") for name in ("audit.html", "audit.json"))
    for name in ("Doe-Jane", "Roe-", "19_0", str(root), "images/", '.png"'):
        assert name not in written
    assert "12 public slices of 6 patients" in written
    assert "autoencoders of 1 partners" in written
    assert fields["results"][0]["measurements"][0]["n"] == 4


def test_people_read_the_headlines(files, tmp_path):
    from ppcmi_sf.cli.app import app

    root = files[0]
    words = line(root, tmp_path, "--attack", "known-plaintext", "--items", "4", "--quick")
    found = CliRunner().invoke(get_command(app), words)
    assert found.exit_code == 0, found.output
    assert "relative error on unseen" in found.stdout
    assert "at least 0.9: met" in found.stdout
    assert "treat it as patient data" in found.stderr


def test_a_wrong_attack_a_wrong_key_and_a_wrong_folder_are_told(files, tmp_path):
    from ppcmi_sf.cli.app import app

    root = files[0]
    for words, code, told in (
        (line(root, tmp_path, "--attack", "guess"), 1, "no attack 'guess'"),
        (line(root, tmp_path, "--partner", str(root / "data")), 5, "no such file of weights"),
        (line(root, tmp_path, "--public", str(root / "nowhere")), 3, "nowhere"),
    ):
        found = CliRunner().invoke(get_command(app), words)
        assert found.exit_code == code, found.output
        assert told in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_subject_has_numbers_in_place_of_names(files):
    root, cases, key = files
    sources = AuditSources(root / "north", key, cases["north"])
    subject, failures = run(load_subject(sources, device=CPU))
    assert failures == []
    assert not set(subject.members.groups) & set(subject.others.groups)
    assert len(subject.members) + len(subject.others) == 12
    assert subject.public_is_own
    assert "Doe" not in str(subject.members.grid.cases)
    assert subject.network is None


def audited(root, key, cases, **more):
    sources = AuditSources(root / "north", key, cases, **more)
    return run(load_subject(sources, device=CPU))[0]


def test_who_was_in_the_training_is_known_by_the_slices(files):
    """A patient who came later is no member, a new name makes no other, and no slice is both."""
    root, cases, key = files
    usual = audited(root, key, cases["north"])
    assert not usual.notes
    later = audited(root, key, [*cases["north"], *cases["public"]])
    assert len(later.members) == len(usual.members)
    assert any("the site was not trained on them" in note for note in later.notes)

    renamed = [replace(case, group=f"new-{case.group}") for case in cases["north"]]
    again = audited(root, key, renamed, unseen=cases["public"])
    assert len(again.members) == len(usual.members)
    assert len(again.others) == len(cases["public"])

    both = audited(root, key, cases["north"], unseen=cases["north"], public=cases["north"])
    # what was set apart and given once more is neither another patient nor news to an attacker
    assert len(both.others) == len(usual.others) and len(both.public) == len(usual.others)
    assert sum("the site was trained on them" in note for note in both.notes) == 2
    assert sum("in the data folder, too" in note for note in both.notes) == 1
    assert len(both.unknown) == len(both.members)
    assert f"{len(usual.others)} of the site's slices are among these" in " ".join(data_of(both))
    same = audited(root, key, cases["north"], unseen=cases["public"], public=cases["public"])
    assert len(same.unknown) == len(usual.members) + len(usual.others)
    assert not set(same.unknown.grid.digests()) & set(same.public.grid.digests())
    seen = [case for case in cases["north"] if case.name not in set_apart(root, cases["north"])]
    with pytest.raises(TrainingError, match="of the site's own training"):
        audited(root, key, cases["north"], public=seen)


def test_further_slices_of_a_patient_of_the_training_are_told(files):
    """Of a known name but with other images: as non-members they make a leak look smaller."""
    root, cases, key = files
    assert not audited(root, key, cases["north"], unseen=cases["south"]).notes
    names = [case.group for case in cases["north"]]
    visits = [replace(c, group=name) for c, name in zip(cases["south"], names, strict=True)]
    (note,) = audited(root, key, cases["north"], unseen=visits).notes
    assert note.startswith(f"{len(set(names))} patients of those given as unseen are named like")
    assert "Doe" not in note


def set_apart(root, cases):
    groups = SiteFolder(root / "north").record().validation_groups
    return {case.name for case in cases if case.group in groups}


def test_a_site_of_before_is_audited_by_names_and_told_so(files, tmp_path):
    root, cases, key = files
    shutil.copytree(root / "north", tmp_path / "north")
    folder = SiteFolder(tmp_path / "north")
    folder.save_record(folder.record().model_copy(update={"learned": ()}))
    subject = audited(tmp_path, key, cases["north"])
    assert len(subject.members) + len(subject.others) == 12
    assert any("before its slices were noted" in note for note in subject.notes)
    with pytest.raises(TrainingError, match="none is left to attack"):
        audited(tmp_path, key, cases["north"], public=cases["north"])


def test_public_volumes_are_cut_as_the_site_s_are(files, tmp_path):
    root = files[0]
    shutil.copytree(root / "north", tmp_path / "north")
    folder = SiteFolder(tmp_path / "north")
    folder.save_record(folder.record().model_copy(update={"slice_axis": 0}))
    values = np.random.default_rng(0).random((6, 40, 48)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "volume.nii.gz")
    image = tmp_path / "volume.nii.gz"
    volume = Case("v", image, None, "v")
    found, failures = run(_load_public([volume], folder.study(), folder.record(), 0))
    assert not failures and len(found) == 6


def install(folder, network, key=None):
    """Put a mapping network into a site's folder, as ``site install`` does."""
    study = folder.study()
    image, mask = (folder.autoencoder(study, role)[0] for role in ("image", "mask"))
    link = SiteLink(
        name=folder.root.name,
        fingerprint="0" * 64,
        epoch=1,
        transform=key.transform_share().key_id if key else "0" * 16,
        encoders=weights_id(image.encoder, mask.encoder),
    )
    save_mapping_network(folder.mapping_file, network, study, [link])


def test_a_partner_asks_the_same_network_and_no_other(files, tmp_path):
    root, cases, key = files
    north, south = (
        SiteFolder(shutil.copytree(root / name, tmp_path / name)) for name in ("north", "south")
    )
    torch.manual_seed(0)
    network, another = (UnifiedMappingNetwork(north.study(), ["any"]) for _ in range(2))
    sources = AuditSources(north.root, key, cases["north"], [south.root])

    def asked():
        subject = run(load_subject(sources, device=CPU))[0]
        return subject.partners[0].mapping

    install(north, network, key)
    assert asked() is None  # the partner has none
    install(south, another)
    assert asked() is None  # of another training
    install(south, network)
    assert asked().site == "south"
    assert weights_id(asked().network) == weights_id(network)
    south.model_file("mask").unlink()
    assert asked() is None  # a partner may give its image autoencoder alone


def test_patients_of_no_training_count_as_others(files):
    root, cases, key = files
    alone = run(load_subject(AuditSources(root / "north", key, cases["north"]), device=CPU))[0]
    sources = AuditSources(
        root / "north", key, cases["north"], public=cases["public"], unseen=cases["south"]
    )
    subject, failures = run(load_subject(sources, device=CPU))
    assert failures == []
    assert len(subject.others) == len(alone.others) + 12
    assert len(subject.members) == len(alone.members)
    parts = [set(part.groups) for part in (subject.members, subject.others, subject.public)]
    assert not any(parts[one] & parts[two] for one, two in ((0, 1), (0, 2), (1, 2)))
    assert "Roe" not in str(subject.others.grid.cases)


def test_a_cancelled_audit_leaves_nothing(files, tmp_path):
    root, cases, key = files
    sources = AuditSources(root / "north", key, cases["north"])
    job = audit_site(sources, tmp_path / "out", TINY, ["learned-inversion"], device=CPU)
    for _ in range(30):
        next(job)
    job.close()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_command_and_leaves_nothing(files, tmp_path):
    root = files[0]
    words = line(root, tmp_path / "out", "--attack", "learned-inversion")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ppcmi")), *words],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    told = b""
    while b"%" not in told:
        one = process.stderr.readline()
        assert one, f"it ended before it began: {told.decode()}"
        told += one
    time.sleep(0.5)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - started < 30
