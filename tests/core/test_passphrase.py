"""Where a passphrase comes from: the order, the file's rules, and real keyring backends."""

import os
import threading
import time
import traceback
import warnings

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError
from pydantic import SecretStr

from ppcmi_sf import passphrase
from ppcmi_sf.errors import InputFileError, KeyFileError
from ppcmi_sf.passphrase import (
    MAX_BYTES,
    VARIABLE,
    Passphrases,
    forget,
    from_keyring,
    read_passphrase_file,
    remember,
)

KEY_ID = "0123456789abcdef"
WORDS = "correct horse battery staple"


class MemoryKeyring(KeyringBackend):
    """A keyring that holds what it is given until the test ends."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.known = {}

    def get_password(self, service, username):
        return self.known.get((service, username))

    def set_password(self, service, username, password):
        self.known[service, username] = password

    def delete_password(self, service, username):
        if (service, username) not in self.known:
            raise PasswordDeleteError("not found")
        del self.known[service, username]


class LockedKeyring(MemoryKeyring):
    """A keyring whose owner pressed 'cancel'."""

    def get_password(self, service, username):
        raise KeyringLocked(f"locked, asked for {WORDS}")

    def set_password(self, service, username, password):
        raise KeyringLocked(f"locked, given {password}")

    delete_password = get_password


class WaitingKeyring(MemoryKeyring):
    """A keyring that waits for a window that nobody sees."""

    def __init__(self):
        super().__init__()
        self.end = threading.Event()

    def get_password(self, service, username):
        self.end.wait(20)
        return WORDS

    def set_password(self, service, username, password):
        self.end.wait(20)

    def delete_password(self, service, username):
        self.end.wait(20)


@pytest.fixture
def use():
    """Make a keyring the system's; the one of before comes back afterwards."""
    before = keyring.get_keyring()

    def set_to(backend):
        keyring.set_keyring(backend)
        return backend

    yield set_to
    keyring.set_keyring(before)


@pytest.fixture(autouse=True)
def empty_keyring(use):
    """No test meets the keyring of whoever runs it."""
    return use(MemoryKeyring())


def put(path, content=WORDS, mode=0o600):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def told(error: BaseException) -> str:
    """Everything that an error shows to anybody."""
    return "".join(traceback.format_exception(error)) + f"{error!r}{error}"


def ask(text):
    return lambda question: SecretStr(text)


def test_sources_are_asked_in_their_order(tmp_path, empty_keyring):
    remember(KEY_ID, SecretStr("from keyring"))
    sources = {
        "file": put(tmp_path / "file", "from file"),
        "environ": {VARIABLE: str(put(tmp_path / "environ", "from environ"))},
        "keyring": None,
        "prompt": ask("from prompt"),
    }
    for name in list(sources):
        options = {"environ": {}} | {key: value for key, value in sources.items() if value}
        found = Passphrases(**options).find("client key", KEY_ID)
        assert found.get_secret_value() == f"from {name}"
        del sources[name]
        if name == "keyring":
            forget(KEY_ID)


def test_the_variable_is_read_from_the_environment_and_names_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(put(tmp_path / "file")))
    assert VARIABLE == "PPCMI_PASSPHRASE_FILE"
    assert Passphrases().find("key", KEY_ID).get_secret_value() == WORDS
    monkeypatch.setenv(VARIABLE, WORDS)  # the passphrase itself is not what it is for
    with pytest.raises(InputFileError, match="cannot be read"):
        Passphrases().find("key", KEY_ID)


def test_an_empty_variable_is_none():
    assert Passphrases(environ={VARIABLE: ""}).without_asking(KEY_ID) is None


def test_a_bad_file_is_told_and_no_other_source_is_tried(tmp_path):
    with pytest.raises(InputFileError):
        Passphrases(file=tmp_path / "none", prompt=ask("x"), environ={}).find("key", KEY_ID)
    with pytest.raises(KeyFileError):
        Passphrases(environ={VARIABLE: str(put(tmp_path / "empty", ""))}, prompt=ask("x")).find(
            "key", KEY_ID
        )


def test_the_prompt_is_asked_last_with_the_file_in_words():
    questions = []

    def prompt(question):
        questions.append(question)
        return SecretStr("typed")

    source = Passphrases(prompt=prompt, environ={})
    assert source.without_asking(KEY_ID) is None
    assert questions == []
    assert source.find("client key north.ppcmikey", KEY_ID).get_secret_value() == "typed"
    assert questions == ["Passphrase of the client key north.ppcmikey"]


def test_without_any_source_the_error_names_the_ways():
    with pytest.raises(KeyFileError, match="there is nobody to ask") as caught:
        Passphrases(environ={}).find("client key", KEY_ID)
    assert "--passphrase-file" in caught.value.hint
    assert VARIABLE in caught.value.hint


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (WORDS, WORDS),
        (f"{WORDS}\n", WORDS),
        (f"{WORDS}\r\n", WORDS),
        (f"{WORDS}\nsecond line\n", WORDS),
        (f"{WORDS}\r\nsecond line", WORDS),
        (f"  {WORDS} \n", f"  {WORDS} "),
        ("Füße im Müßiggang\n", "Füße im Müßiggang"),
        ("x" * MAX_BYTES, "x" * MAX_BYTES),
    ],
)
def test_the_first_line_of_the_file_is_the_passphrase(content, expected, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_passphrase_file(put(tmp_path / "file", content))
    assert isinstance(found, SecretStr)
    assert found.get_secret_value() == expected


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\r\n", b"\nsecond", b"caf\xe9 correct", WORDS.encode("utf-16")]
)
def test_a_file_without_a_first_line_of_text_is_refused(content, tmp_path):
    with pytest.raises(KeyFileError, match="no passphrase in this file") as caught:
        read_passphrase_file(put(tmp_path / "file", content))
    assert str(tmp_path / "file") in caught.value.message
    assert caught.value.hint
    assert "caf" not in told(caught.value).replace(str(tmp_path), "")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
def test_a_file_that_is_missing_too_large_a_folder_or_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path / "large", "x" * (MAX_BYTES + 1))
    for name in ("none", ".", "pipe", "large"):
        with pytest.raises(InputFileError, match="passphrase file") as caught:
            read_passphrase_file(tmp_path / name)
        assert "xxxx" not in told(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_warns_without_showing_it(mode, tmp_path):
    path = put(tmp_path / "file", mode=mode)
    with pytest.warns(UserWarning, match="chmod 600") as caught:
        assert read_passphrase_file(path).get_secret_value() == WORDS
    assert not any(WORDS in str(warning.message) for warning in caught)


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_link_to_the_file_works_as_mounted_secrets_are_links(tmp_path):
    put(tmp_path / "..data")
    (tmp_path / "secret").symlink_to("..data")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_passphrase_file(tmp_path / "secret").get_secret_value() == WORDS
    (tmp_path / "..data").chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        read_passphrase_file(tmp_path / "secret")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InputFileError, match="cannot be read"):
        read_passphrase_file(tmp_path / "dangling")


def test_a_link_to_itself_leaves_as_an_error_of_this_program(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputFileError):
        read_passphrase_file(tmp_path / "loop")


def test_the_keyring_remembers_gives_and_forgets(empty_keyring):
    assert from_keyring(KEY_ID) is None
    remember(KEY_ID, SecretStr(WORDS))
    assert empty_keyring.known == {("napari-ppcmi", KEY_ID): WORDS}
    assert from_keyring(KEY_ID).get_secret_value() == WORDS
    assert from_keyring("f" * 16) is None
    forget(KEY_ID)
    assert empty_keyring.known == {}
    with pytest.raises(KeyFileError, match="has no such entry") as caught:
        forget(KEY_ID)
    assert "napari-ppcmi[keyring]" in caught.value.hint


def test_an_empty_entry_of_the_keyring_is_none(empty_keyring):
    remember(KEY_ID, SecretStr(""))
    assert from_keyring(KEY_ID) is None


def test_a_keyring_that_refuses_is_as_none_and_shows_nothing(use, capfd):
    use(LockedKeyring())
    assert from_keyring(KEY_ID) is None
    for action in (lambda: remember(KEY_ID, SecretStr(WORDS)), lambda: forget(KEY_ID)):
        with pytest.raises(KeyFileError, match="keyring did not do it") as caught:
            action()
        assert WORDS not in told(caught.value)
        assert caught.value.hint
    source = Passphrases(prompt=ask("typed instead"), environ={})
    assert source.find("key", KEY_ID).get_secret_value() == "typed instead"
    assert WORDS not in "".join(capfd.readouterr())


def test_a_keyring_that_hangs_is_given_up(use, monkeypatch, capfd):
    assert passphrase.KEYRING_SECONDS == 5
    monkeypatch.setattr(passphrase, "KEYRING_SECONDS", 0.2)
    waiting = use(WaitingKeyring())
    before = time.perf_counter()
    assert from_keyring(KEY_ID) is None
    for action in (lambda: remember(KEY_ID, SecretStr(WORDS)), lambda: forget(KEY_ID)):
        with pytest.raises(KeyFileError, match="keyring did not do it"):
            action()
    assert time.perf_counter() - before < 5
    waiting.end.set()
    assert WORDS not in "".join(capfd.readouterr())


def test_no_repr_shows_a_passphrase(tmp_path):
    file = put(tmp_path / "file")
    source = Passphrases(file=file, prompt=ask(WORDS), environ={})
    found = read_passphrase_file(file)
    for text in (repr(source), str(source), repr(found), str(found), f"{found}", f"{vars(source)}"):
        assert WORDS not in text
