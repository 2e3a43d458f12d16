"""Several attacks in one: progress, choice, an attack that cannot be run, cancelling."""

from dataclasses import replace

import numpy as np
import pytest

from ppcmi_sf.audit.attacks import all_attacks
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.run import choose_attacks, run_attacks
from ppcmi_sf.audit.subject import choose, divide
from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.progress import run

TINY = AuditOptions(seed=1, quick=True, items=4, train_steps=2)
CHEAP = ("wrong-key", "known-plaintext")


def test_every_attack_says_what_it_is():
    attacks = [entry.attack for entry in all_attacks()]
    assert len({attack.id for attack in attacks}) == len(attacks)
    for attack in attacks:
        for name in ("title", "attacker", "knowledge", "method", "source", "meaning"):
            assert getattr(attack, name), (attack.id, name)


def test_the_chosen_ones_run_in_order_with_one_progress(escrow_subject):
    steps = []
    report = run(run_attacks(escrow_subject, TINY, ("known-plaintext", "wrong-key")), steps.append)
    assert [result.attack.id for result in report.results] == list(CHEAP)
    assert all(result.measurements and not result.problem for result in report.results)
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert steps[-1].fraction == 1
    assert len({step.total for step in steps}) == 1


def test_the_same_seed_gives_the_same_report(escrow_subject, fresh):
    reports = [run(run_attacks(fresh(escrow_subject), TINY, CHEAP)).to_json() for _ in range(2)]
    assert reports[0] == reports[1]
    other = run(run_attacks(escrow_subject, replace(TINY, seed=2), CHEAP)).to_json()
    assert other["results"] != reports[0]["results"]


def test_an_attack_that_does_not_exist_is_refused():
    with pytest.raises(PPCMIError, match="no attack 'brute-force'") as caught:
        choose_attacks(["brute-force"])
    assert "cross-decoder" in caught.value.hint


@pytest.mark.parametrize("error", [PPCMIError("Too little."), InputFileError("/Doe/x.png", "bad")])
def test_what_stops_one_attack_is_told_and_the_others_go_on(escrow_subject, monkeypatch, error):
    from ppcmi_sf.audit.attacks import wrong_key

    def fail(_subject, _options):
        raise error
        yield

    monkeypatch.setattr(wrong_key, "run", fail)
    report = run(run_attacks(escrow_subject, TINY, CHEAP))
    assert report.results[0].problem in ("Too little.", "A file cannot be used.")
    assert "Doe" not in report.results[0].problem
    assert report.results[1].measurements


def test_the_report_names_what_was_looked_at(escrow_subject):
    report = run(run_attacks(escrow_subject, TINY, ("wrong-key",)))
    assert report.key_id == escrow_subject.share.key_id
    assert report.study_fingerprint == escrow_subject.study.fingerprint
    assert any("24 slices of 12 patients" in line for line in report.data)
    assert "Doe" not in str(report.to_json())


def test_closing_it_half_way_ends_it(escrow_subject, fresh):
    subject = fresh(escrow_subject)
    job = run_attacks(subject, replace(TINY, train_steps=500), ("learned-inversion",))
    for _ in range(40):
        next(job)
    job.close()
    assert list(job) == []


def test_slices_are_chosen_from_as_many_patients_as_can_be(escrow_subject):
    everything = escrow_subject.everything
    assert choose(everything, 20, 0).group_count == 20
    assert len(choose(everything, 1000, 0)) == len(everything)
    same = choose(everything, 7, 5).groups, choose(everything, 7, 5).groups
    assert np.array_equal(*same)


def test_parts_have_no_patient_in_common(escrow_subject):
    first, second = divide(escrow_subject.everything, 0.7, 0)
    assert not set(first.groups) & set(second.groups)
    assert len(first) + len(second) == len(escrow_subject.everything)
    assert len(first) > len(second)
    alone = escrow_subject.members.take(np.flatnonzero(escrow_subject.members.groups == 0))
    assert [len(part) for part in divide(alone, 0.5, 0)] == [1, 1]


def test_options_that_make_no_sense_are_refused():
    for fields in ({"seed": -1}, {"items": 1}, {"train_steps": 0}):
        with pytest.raises(PPCMIError):
            AuditOptions(**fields)
