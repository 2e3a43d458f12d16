"""Who may write for whom, and what a known sender may not put into a study's bundle."""

from datetime import date

import pytest

from ppcmi_sf.bundle import item_layout, open_bundle, peek, read_bundle, read_envelope
from ppcmi_sf.dates import Validity, valid_from_today
from ppcmi_sf.errors import (
    BundleContentError,
    ContactError,
    KeyFileError,
    NotRecipientError,
    StudyError,
)
from ppcmi_sf.study import StudySpec

PAST = Validity(date(2020, 1, 1), date(2020, 12, 31))


# -- sender and recipients -------------------------------------------------------------


def test_who_expired_neither_sends_nor_receives(write, people, tmp_path):
    with pytest.raises(KeyFileError, match="it signs nothing now") as caught:
        write(sender=people["north"].renew(PAST))
    assert caught.value.hint
    with pytest.raises(ContactError, match="'server' is valid from") as caught:
        write(recipients=[people["server"].renew(PAST).card])
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_who_expired_still_reads(write, people, study, sender_of):
    path = write()
    assert read_bundle(path, study, people["server"].renew(PAST), sender_of).header.items == 3


def test_several_recipients(write, people, study, sender_of):
    path = write(to=("server", "second", "north"))
    headers = [
        read_bundle(path, study, people[name], sender_of).header
        for name in ("server", "second", "north")
    ]
    assert headers[0] == headers[1] == headers[2]
    for read in (
        lambda: peek(path, people["stranger"]),
        lambda: read_bundle(path, study, people["stranger"], sender_of),
    ):
        with pytest.raises(NotRecipientError) as caught:
            read()
        assert str(path) in caught.value.message
        assert caught.value.hint


def test_a_recipient_named_twice(write, people, study, sender_of):
    renewed = people["server"].renew(valid_from_today(days=100))
    path = write(recipients=[people["server"].card, people["server"].card, renewed.card])
    assert read_envelope(path).fingerprints == (people["server"].fingerprint,)
    assert read_bundle(path, study, people["server"], sender_of).header.items == 3


@pytest.mark.parametrize("count", [0, 33])
def test_no_recipient_or_too_many(count, write, people, tmp_path):
    cards = [
        people["server"].card.model_copy(update={"fingerprint": f"{n:064x}"}) for n in range(count)
    ]
    with pytest.raises(ContactError, match="1 to 32 recipients"):
        write(recipients=cards)
    assert list(tmp_path.iterdir()) == []


def test_32_recipients(write, people, study, sender_of):
    cards = [
        people["second"].card.model_copy(update={"fingerprint": f"{n:064x}"}) for n in range(31)
    ]
    path = write(recipients=[*cards, people["server"].card])
    assert len(read_envelope(path).fingerprints) == 32
    assert read_bundle(path, study, people["server"], sender_of).header.items == 3


# -- what a known sender may not put into a study's bundle ---------------------------------


def test_another_study_s_bundle(write, study, people, sender_of):
    other = StudySpec.model_validate(study.model_dump() | {"name": "other"})
    with pytest.raises(StudyError, match="belongs to another study"):
        read_bundle(write(), other, people["server"], sender_of)


def test_a_layout_that_is_not_the_study_s(forger, study, people, sender_of, tmp_path):
    tensors = forger.draw("float16", 1)
    del tensors["image.skip4"]
    payload = forger.ref.record(forger.ref.blob(tensors))
    layout = [entry for entry in forger.layouts["float16"] if entry["name"] != "image.skip4"]
    refused(
        forger, forger.header(payload, layout=layout), payload, study, people, sender_of, tmp_path
    )


def test_a_validation_flag_of_2(forger, helpers, study, people, sender_of, tmp_path):
    layout = [e.model_dump(mode="json") for e in item_layout(study, "training", "float16")]
    tensors = helpers.faults.random_tensors(layout, 1)
    tensors["validation"][:] = 2
    payload = forger.ref.record(forger.ref.blob(tensors))
    header = forger.header(payload, kind="training", layout=layout)
    refused(forger, header, payload, study, people, sender_of, tmp_path)


def test_scales_that_make_int8_infinite(forger, study, people, sender_of, tmp_path):
    tensors = forger.draw("int8", 1)
    tensors["image.skip3"][:] = 127
    tensors["image.skip3.scale"][:] = 3e38
    payload = forger.ref.record(forger.ref.blob(tensors))
    header = forger.header(payload, precision="int8")
    refused(forger, header, payload, study, people, sender_of, tmp_path)


def refused(forger, header, payload, study, people, sender_of, tmp_path):
    path = tmp_path / "b.ppcmi"
    path.write_bytes(forger.bundle(header, payload).join())
    with open_bundle(path, people["server"], sender_of) as reader:
        assert len(list(reader.records())) == 1
    with pytest.raises(BundleContentError) as caught:
        read_bundle(path, study, people["server"], sender_of)
    assert str(path) in caught.value.message
    assert "north" in caught.value.hint
