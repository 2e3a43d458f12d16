"""Bundles: what leaves, what came, what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from napari_ppcmi._protocol.keys import IdentityInfo
from napari_ppcmi._protocol.message import Answer, Failure, NoiseLevel, Request

Purpose = Literal["query", "training"]
Parts = Annotated[int, Field(ge=1, le=100)]


class CaseInfo(Answer):
    """An image to protect, and its mask for training pairs."""

    name: str
    image: Path
    mask: Path | None = None
    group: str = ""


class CaseProblem(Answer):
    """A case that cannot be taken, or failed."""

    name: str
    failure: Failure


class FindCases(Request):
    """Which cases lie in files and folders. Answer: :class:`CasesFound`."""

    paths: tuple[Path, ...]
    need_masks: bool = False


class CasesFound(Answer):
    """Cases, and what is wrong with others."""

    cases: tuple[CaseInfo, ...]
    problems: tuple[CaseProblem, ...] = ()


class KeepLayer(Request):
    """Save an image that is only in the viewer as a file of the site. Answer: :class:`CaseInfo`.

    ``arrays``: the image, float32, channels last. It stays on this computer.
    """

    name: str
    folder: Path
    spacing: tuple[float, ...]
    has_physical_size: bool


class ReviewExport(Request):
    """What would leave this computer. Nothing is written. Answer: :class:`ExportReview`.

    Attributes
    ----------
    recipients
        Fingerprints; this site's own stands for the mapping network on this computer.
    site_folder, key_id, sender
        Whose it is: what was open when it was asked for, ``sender`` as a fingerprint. When
        another one is open by then, it is refused; what is not told is not compared.
    parts
        Training pairs in so many bundles, each patient in one of them.
    noise
        Level of the noise on the latents; 0 is none.
    """

    purpose: Purpose
    cases: tuple[CaseInfo, ...]
    recipients: tuple[str, ...]
    site_folder: Path | None = None
    key_id: str = ""
    sender: str = ""
    copies: int | None = None
    parts: Parts = 1
    noise: NoiseLevel = 0.0
    device: str = "auto"


class ExportReview(Answer):
    """What a person looks at before anything is written.

    ``arrays``: two pictures, float32 (H, W) in [0, 1]: a slice of the first case, and the best
    reconstruction without the key.

    Attributes
    ----------
    items
        Slices in all.
    byte_count
        Size of all files, estimated from the layout.
    header
        Name and text of every field that a bundle's header has.
    method
        How the reconstruction was made.
    correlation, ssim
        How like the original it is: |r| and SSIM, 1 is the same.
    noise
        What the noise on the latents amounts to, in words; empty without noise.
    """

    bundles: int
    items: int
    byte_count: int
    recipients: tuple[IdentityInfo, ...]
    header: tuple[tuple[str, str], ...]
    picture_of: str
    method: str
    correlation: float
    ssim: float
    noise: str = ""
    problems: tuple[CaseProblem, ...] = ()


class WriteBundles(Request):
    """Write what was reviewed, and nothing else. Answer: :class:`BatchResult`."""

    reviewed: ReviewExport
    out: Path


class BatchResult(Answer):
    """What came of a batch."""

    written: tuple[Path, ...] = ()
    skipped: tuple[str, ...] = ()
    problems: tuple[CaseProblem, ...] = ()


class WriteShare(Request):
    """Write this site's transform share for a mapping server (escrow). Answer: SavedShare."""

    quick: ClassVar[bool] = True

    recipient: str
    file: Path


class SavedShare(Answer):
    """Where the share is, and who alone can open it.

    Attributes
    ----------
    epoch, key_id
        Of the key that it was made from, and the share's own.
    """

    file: Path
    recipient: IdentityInfo
    epoch: int
    key_id: str


State = Literal[
    "verified", "unknown sender", "revoked sender", "changed", "expired", "already used",
    "for others", "not readable", "own",
]  # fmt: skip


class BundleInfo(Answer):
    """A bundle in a folder.

    Attributes
    ----------
    state
        ``verified``: signed by a known partner and for this site. ``own``: written here.
    written
        When the file was written, ISO, local time.
    problem
        Why it is not ``verified``, in words.
    """

    file: Path
    kind: str = ""
    bundle_id: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    written: str = ""
    items: int = 0
    byte_count: int = 0
    state: State
    problem: str = ""


class ScanFolder(Request):
    """Look at every bundle of a folder. Answer: :class:`FolderListing`."""

    quick: ClassVar[bool] = True

    folder: Path


class FolderListing(Answer):
    """The newest first."""

    folder: Path
    bundles: tuple[BundleInfo, ...]


class LookAtBundle(Request):
    """What one file is to this site. Answer: :class:`BundleInfo`."""

    quick: ClassVar[bool] = True

    file: Path


class TakeIn(Request):
    """Copy bundle files into a folder, such as those dropped on the window. Answer: BatchResult."""

    quick: ClassVar[bool] = True

    files: tuple[Path, ...]
    folder: Path


class MapHere(Request):
    """Answer this site's own queries with the network that is installed. Answer: BatchResult."""

    queries: tuple[Path, ...]
    out: Path
    device: str = "auto"
    again: bool = False


class InstallModel(Request):
    """Take in a mapping network that a server sent. Answer: :class:`~.message.Done`."""

    file: Path
    again: bool = False


class LogRow(Answer):
    """One line of the disclosure log."""

    seq: int
    at: str
    event: str
    kind: str
    peers: tuple[str, ...]
    items: int
    byte_count: int
    bundle_id: str


class ReadLog(Request):
    """The disclosure log. Answer: :class:`LogListing`."""

    quick: ClassVar[bool] = True

    home: Path


class LogListing(Answer):
    """Its lines, the newest first; ``problem`` tells where the chain is broken."""

    rows: tuple[LogRow, ...]
    head: str = ""
    problem: str = ""


class ExportLog(Request):
    """Write the log as CSV. Answer: :class:`~.message.Done`."""

    quick: ClassVar[bool] = True

    home: Path
    file: Path


class Reveal(Request):
    """Decode replies. Answer: :class:`RevealedMasks`.

    Attributes
    ----------
    out
        Where the masks are kept.
    """

    replies: tuple[Path, ...]
    out: Path
    device: str = "auto"
    again: bool = False


class RevealedMasks(Answer):
    """Masks of the replies, each with its array, and what failed."""

    masks: tuple[RevealedFile, ...]
    problems: tuple[CaseProblem, ...] = ()


class RevealedFile(Answer):
    """A mask that a reply was decoded to; :class:`OpenRevealed` reads it."""

    name: str
    source: str
    path: Path
    query_id: str = ""
    reply_id: str = ""
    network: str = ""
    server: str = ""
    new: bool = True


class OpenRevealed(Request):
    """Read a decoded mask as it lies on its image. Answer: :class:`~.images.Mask`."""

    case: RevealedFile
    device: str = "auto"
