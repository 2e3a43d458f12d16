"""Where a passphrase comes from. It is never a command's argument.

In this order: what the caller gives as ``SecretStr``; a file that is named; the file that the
environment variable ``PPCMI_PASSPHRASE_FILE`` names; the system's keyring, when the
extra ``keyring`` is installed; a prompt.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.files import warn_if_shared
from ppcmi_sf.received import read_received

VARIABLE = "PPCMI_PASSPHRASE_FILE"
GIVE_FILE = f"Give --passphrase-file FILE, or set {VARIABLE} to the name of a file that holds it."
MAX_BYTES = 4096
KEYRING_SECONDS = 5.0
_SERVICE = "napari-ppcmi"


class Passphrases:
    """Finds the passphrase of a secret file.

    Parameters
    ----------
    file
        A file whose first line it is.
    prompt
        Asks a person: called with the question, gives the answer.
    environ
        Environment variables.
    """

    def __init__(
        self,
        file: Path | None = None,
        prompt: Callable[[str], SecretStr] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._file, self._prompt, self._environ = file, prompt, environ

    def find(self, what: str, secret_id: str) -> SecretStr:
        """The passphrase of one file.

        Parameters
        ----------
        what
            The file in words, for the prompt: ``client key north.ppcmikey``.
        secret_id
            Key id or fingerprint, under which the keyring may know it. Empty for something
            new, which no keyring knows.

        Raises
        ------
        KeyFileError
            There is none, or the file that should hold it cannot be used.
        """
        quiet = self.without_asking(secret_id)
        if quiet is not None:
            return quiet
        if self._prompt is None:
            raise KeyFileError(
                f"The {what} needs a passphrase, and there is nobody to ask.",
                hint=GIVE_FILE,
            )
        return self._prompt(f"Passphrase of the {what}")

    def without_asking(self, secret_id: str) -> SecretStr | None:
        """As :meth:`find`, but nothing instead of a prompt."""
        if self._file is not None:
            return read_passphrase_file(self._file)
        if self._environ.get(VARIABLE):
            return read_passphrase_file(Path(self._environ[VARIABLE]))
        return from_keyring(secret_id) if secret_id else None


def read_passphrase_file(path: Path) -> SecretStr:
    """The first line of a file.

    Raises
    ------
    KeyFileError
        It is empty, or not a text.
    InputFileError
        It cannot be read, or is too large.
    """
    # Through the file system's links: secrets are often mounted as such.
    real = Path(os.path.realpath(path))
    data = read_received(real, MAX_BYTES, "passphrase file")
    warn_if_shared(path, real.stat().st_mode, "passphrase")
    try:
        line = data.decode("utf-8-sig").splitlines()[0]
    except (UnicodeDecodeError, IndexError):
        line = ""
    if not line:
        raise KeyFileError(
            f"{path}: there is no passphrase in this file.",
            hint="Its first line must be the passphrase, in UTF-8.",
        ) from None
    return SecretStr(line)


def from_keyring(secret_id: str) -> SecretStr | None:
    """What the system's keyring knows; nothing when it is not installed, locked or silent.

    It is asked in a thread of its own, and given up after five seconds: some keyrings wait for a
    window that nobody sees.
    """
    found = _ask_keyring(lambda keyring: keyring.get_password(_SERVICE, secret_id))
    return SecretStr(found) if isinstance(found, str) and found else None


def remember(secret_id: str, passphrase: SecretStr) -> None:
    """Store a passphrase in the system's keyring.

    Raises
    ------
    KeyFileError
        There is no keyring that takes it.
    """

    def store(keyring: _Keyring) -> bool:
        keyring.set_password(_SERVICE, secret_id, passphrase.get_secret_value())
        return True

    if _ask_keyring(store) is not True:
        raise _no_keyring()


def forget(secret_id: str) -> None:
    """Remove a passphrase from the system's keyring.

    Raises
    ------
    KeyFileError
        There is no keyring, or it knows none.
    """

    def remove(keyring: _Keyring) -> bool:
        keyring.delete_password(_SERVICE, secret_id)
        return True

    if _ask_keyring(remove) is not True:
        raise _no_keyring()


class _Keyring:
    """What is used of the module ``keyring``."""

    def __init__(self) -> None:
        import keyring

        self.get_password = keyring.get_password
        self.set_password = keyring.set_password
        self.delete_password = keyring.delete_password


def _ask_keyring(question: Callable[[_Keyring], object]) -> object:
    answers: list[object] = []

    def ask() -> None:
        with suppress(Exception):  # not installed, locked, no such entry: all are "nothing"
            answers.append(question(_Keyring()))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(KEYRING_SECONDS)
    return answers[0] if answers else None


def _no_keyring() -> KeyFileError:
    return KeyFileError(
        "The system's keyring did not do it: it is not installed, locked, or has no such entry.",
        hint="Install the extra with 'pip install \"napari-ppcmi[keyring]\"', unlock the keyring, "
        "or use --passphrase-file.",
    )
