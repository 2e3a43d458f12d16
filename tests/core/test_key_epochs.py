"""Which key is the newest: what was rotated makes nothing new."""

import pytest

from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.registry import Database, DisclosureLog, KeyEpochs

STUDY = "cd" * 32


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "registry.sqlite")


@pytest.fixture
def epochs(database):
    return KeyEpochs(database)


def test_an_older_key_than_the_newest_is_refused(epochs):
    first = ClientKey.generate("north", STUDY)
    epochs.require_newest(first)  # nothing is known yet
    epochs.note(first)
    epochs.require_newest(first)
    second = first.rotate()
    epochs.require_newest(second)
    epochs.note(second)
    epochs.require_newest(second)
    with pytest.raises(KeyFileError, match="of epoch 1, and was rotated: epoch 2 is in use"):
        epochs.require_newest(first)
    epochs.note(first)  # what is known stays known
    with pytest.raises(KeyFileError):
        epochs.require_newest(first)


def test_of_two_new_keys_of_one_epoch_one_is_written(epochs, database, tmp_path):
    one, other = (ClientKey.generate("north", STUDY) for _ in range(2))
    file = tmp_path / "other"
    epochs.add(one, lambda: None)
    with pytest.raises(KeyFileError, match="epoch 1 was made meanwhile") as caught:
        epochs.add(other, file.touch)
    assert caught.value.hint and not file.exists()
    with pytest.raises(KeyFileError, match="epoch 1 was made meanwhile"):
        epochs.add(other, file.touch)
    epochs.add(one.rotate(), file.touch)
    assert file.exists() and epochs.newest(STUDY, "north") == 2
    assert [entry.epoch for entry in DisclosureLog(database).entries()] == [1, 2]


def test_a_key_that_could_not_be_written_is_not_noted(epochs):
    def full() -> None:
        raise KeyFileError("full")

    with pytest.raises(KeyFileError, match="full"):
        epochs.add(ClientKey.generate("north", STUDY), full)
    assert epochs.newest(STUDY, "north") == 0


def test_keys_of_other_sites_and_studies_do_not_matter(epochs):
    key = ClientKey.generate("north", STUDY)
    epochs.note(ClientKey.generate("south", STUDY, 5))
    epochs.note(ClientKey.generate("north", "00" * 32, 5))
    epochs.require_newest(key)


def test_a_key_is_noted_once_and_never_its_secret(epochs, database):
    key = ClientKey.generate("north", STUDY, 3)
    for _ in range(3):
        epochs.note(key)
    (entry,) = DisclosureLog(database).entries()
    assert (entry.event, entry.key_id, entry.epoch) == ("key made", key.transform_share().key_id, 3)
    data = database.path.read_bytes()
    assert key.secret not in data
    assert key.secret.hex().encode() not in data
