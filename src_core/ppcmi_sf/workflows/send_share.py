"""A transform share on its way to the mapping server of an ``escrow`` study, with its log entry."""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import KeyFileError, PPCMIError
from ppcmi_sf.home import Party
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.share import read_sealed, write_share


def send_share(path: Path, share: TransformShare, party: Party, server: ContactCard) -> None:
    """Enter it in the log first: rather an entry too many than a share that nobody noted.

    Raises
    ------
    PPCMIError
        See :func:`ppcmi_sf.share.write_share`.
    """
    noted = {"study": share.study, "key_id": share.key_id, "epoch": share.epoch}
    party.home.log.append("share sent", peers=(server.fingerprint,), **noted)
    try:
        write_share(path, share, party.identity, server)
    except BaseException:
        party.home.log.append("withdrawn", peers=(server.fingerprint,), **noted)
        raise


def require_free_share(path: Path) -> None:
    """A share may be written again; anything else (a key, say) is never replaced.

    Raises
    ------
    KeyFileError
        Something else lies there.
    """
    if not path.exists():
        return
    try:
        read_sealed(path)
    except PPCMIError as error:
        raise KeyFileError(
            f"{path}: there is a file already that is no transform share (maybe a key).",
            hint="Choose another name.",
        ) from error
