"""The closed family of errors that leave the engine.

Every public function raises :class:`PPCMIError` or a subclass of it and nothing
else. Each error says in plain words what happened and to which file, and its
``hint`` says what the user can do next. ``exit_code`` is what ``ppcmi`` returns.
"""

from __future__ import annotations

from pathlib import Path


class PPCMIError(Exception):
    """Something went wrong that a user can read about and act on.

    Parameters
    ----------
    message
        What happened, in one plain sentence, with the file's name where there is one.
    hint
        What the user can do next, in one plain sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputFileError(PPCMIError):
    """A file that the user gave cannot be used: missing, corrupt, wrong kind, wrong content."""

    exit_code = 3

    def __init__(self, path: Path | str, problem: str, *, hint: str = "") -> None:
        self.path = Path(path)
        super().__init__(f"{self.path}: {problem}", hint=hint)


class SeveralFramesError(InputFileError):
    """The file holds several images (time points, pages) and none was chosen.

    Parameters
    ----------
    count
        How many there are.
    """

    def __init__(self, path: Path | str, problem: str, *, hint: str, count: int) -> None:
        super().__init__(path, problem, hint=hint)
        self.count = count


class StudyError(PPCMIError):
    """A study description is invalid, or two things belong to different studies."""

    exit_code = 4


class KeyFileError(PPCMIError):
    """A key, identity or share is missing, damaged, locked, or of another site, study or epoch."""

    exit_code = 4


class ContactError(PPCMIError):
    """A partner's card, join request or membership list is unknown, expired, revoked or changed."""

    exit_code = 4


class BundleError(PPCMIError):
    """A latent bundle cannot be used. What is wrong is told by the subclass, if there is one."""

    exit_code = 5


class BundleDamagedError(BundleError):
    """The bytes are not those that were written: cut short, changed, or never a bundle at all."""


class BundleVersionError(BundleError):
    """A format version or an algorithm that this program does not know or does not accept."""


class BundleContentError(BundleError):
    """Written and signed so, but the content is not allowed: fields, shapes, types, values."""


class NotRecipientError(BundleError):
    """The bundle was encrypted to others."""


class UntrustedSenderError(BundleError):
    """The sender is unknown, revoked or expired, or the signature is not the sender's."""

    def about(self, path: Path) -> UntrustedSenderError:
        """The same with the file's name in front, from one who knows which file it is."""
        return UntrustedSenderError(f"{path}: {self.message}", hint=self.hint)


class ReaddressedError(BundleError):
    """The list of recipients is not the one that the sender signed: somebody passed it on."""


class ReplayError(BundleError):
    """The very same bundle was accepted before."""


class ModelFileError(PPCMIError):
    """A file of network weights is missing, damaged or of another study."""

    exit_code = 5


class TrainingError(PPCMIError):
    """A training cannot start or cannot go on (too little data, the loss is not finite)."""

    exit_code = 6


class ResourceError(PPCMIError):
    """The machine lacks something: memory, disk space, a device, the right to write."""

    exit_code = 7


class PartialFailure(PPCMIError):
    """A batch was finished, but some of its cases failed.

    Parameters
    ----------
    failures
        Case name and the error that stopped it, in the order of the batch.
    done
        How many cases succeeded.
    """

    exit_code = 1

    def __init__(self, failures: list[tuple[str, PPCMIError]], done: int) -> None:
        self.failures = failures
        self.done = done
        super().__init__(
            f"{len(failures)} of {len(failures) + done} cases failed.",
            hint="Each is listed with its reason; mend these and run the same command again.",
        )
