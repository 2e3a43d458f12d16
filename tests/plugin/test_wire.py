"""Messages over real pipes."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from pydantic import SecretStr

from napari_ppcmi._protocol.keys import CreateIdentity, LookAtHome
from napari_ppcmi._protocol.message import Failure, from_head, to_head
from napari_ppcmi._protocol.wire import Closed, Wire
from ppcmi_sf.errors import InputFileError


@pytest.fixture
def ends():
    there, back = os.pipe(), os.pipe()
    one = Wire(os.fdopen(back[0], "rb"), os.fdopen(there[1], "wb"))
    other = Wire(os.fdopen(there[0], "rb"), os.fdopen(back[1], "wb"))
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24).reshape(4, 6).T,  # not in C order
        np.zeros((0, 5), np.uint8),
        np.arange(6, dtype=">u2"),
    ],
)
def test_arrays_arrive_as_they_were_sent(ends, array):
    one, other = ends
    one.send({"job": 1}, [array, array])
    frame = other.receive()
    assert frame.head == {"job": 1}
    for got in frame.arrays:
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype and got.shape == array.shape


def test_a_large_array_passes_a_small_pipe(ends):
    one, other = ends
    array = np.random.default_rng(0).random(2_000_000)
    sender = threading.Thread(target=one.send, args=({}, [array]))
    sender.start()
    np.testing.assert_array_equal(other.receive().arrays[0], array)
    sender.join()


def test_a_side_that_is_gone_is_noticed_by_both_directions(ends):
    one, other = ends
    other.close()
    with pytest.raises(Closed):
        one.receive()


def test_requests_come_back_as_they_were(tmp_path):
    request = LookAtHome(home=tmp_path)
    assert from_head(to_head(request), ()) == request


def test_a_secret_goes_over_the_pipe_and_nowhere_else(tmp_path):
    request = CreateIdentity(home=tmp_path, name="north", passphrase=SecretStr("open sesame"))
    assert "sesame" not in repr(request) + str(request) + str(request.model_dump())
    back = from_head(to_head(request), ())
    assert isinstance(back, CreateIdentity)
    assert back.passphrase.get_secret_value() == "open sesame"


def test_what_is_none_of_ours_is_refused():
    with pytest.raises(KeyError):
        from_head({"class": "Popen", "body": {}}, ())
    with pytest.raises(ValueError):
        from_head({"class": "LookAtHome", "body": {"home": "x", "more": 1}}, ())


def test_an_engine_error_becomes_its_two_sentences():
    failure = Failure.of(InputFileError("a.png", "it is empty.", hint="Export it again."))
    assert failure.message == "a.png: it is empty."
    assert failure.hint == "Export it again."
    assert failure.kind == "InputFileError"
