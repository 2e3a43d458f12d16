"""What the worker keeps open between two requests: secrets, and networks that are loaded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ppcmi_sf.errors import KeyFileError, PPCMIError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.keys import ClientKey

if TYPE_CHECKING:
    from ppcmi_sf.roles import Site
    from ppcmi_sf.workflows.segment import Segmenter


@dataclass
class Desk:
    """Everything that a request may use besides its own fields.

    Attributes
    ----------
    home, key, party, site_folder
        What is unlocked; ``None`` while it is not.
    """

    home: Home | None = None
    key: ClientKey | None = None
    party: Party | None = None
    site_folder: Path | None = None
    _segmenter: tuple[object, Segmenter] | None = field(default=None, repr=False)
    _site: tuple[object, tuple[Site, str]] | None = field(default=None, repr=False)

    def lock(self) -> None:
        """Forget everything secret."""
        self.home = self.key = self.party = self.site_folder = None
        self._segmenter = self._site = None

    def require_key(self) -> ClientKey:
        """The client key.

        Raises
        ------
        KeyFileError
            It is not unlocked.
        """
        if self.key is None:
            raise KeyFileError(
                "The client key is locked.", hint="Unlock it on the Key page, then try again."
            )
        return self.key

    def require_party(self) -> Party:
        """The identity, with its home.

        Raises
        ------
        KeyFileError
            It is not unlocked.
        """
        if self.party is None:
            raise KeyFileError(
                "The identity is locked.", hint="Unlock it on the Key page, then try again."
            )
        return self.party

    def require_site(self) -> Path:
        """The site's folder.

        Raises
        ------
        KeyFileError
            None was chosen.
        """
        if self.site_folder is None:
            raise KeyFileError(
                "No site folder is open.", hint="Choose it on the Key page, then unlock."
            )
        return self.site_folder

    def segmenter(self, device: str) -> Segmenter:
        """The networks of the open site, loaded once for as long as their files are the same.

        Raises
        ------
        PPCMIError
            Something is locked, missing or damaged.
        """
        from ppcmi_sf.device import choose_device
        from ppcmi_sf.workflows.segment import Segmenter

        key, folder = self.require_key(), self.require_site()
        wanted = self._state(device)
        if self._segmenter is None or self._segmenter[0] != wanted:
            self._segmenter = None  # the old networks may go before the new ones come
            loaded = Segmenter.load(folder, key, choose_device(device))
            self._segmenter = wanted, loaded
            self._site = None  # it has the same networks
            self._require_still(key)
            return loaded
        return self._segmenter[1]

    def site(self, device: str) -> tuple[Site, str]:
        """The open site and the id of its encoders; it may have no mapping network.

        Raises
        ------
        PPCMIError
            Something is locked, missing or damaged.
        """
        from ppcmi_sf.device import choose_device
        from ppcmi_sf.workflows.folders import SiteFolder

        key, folder = self.require_key(), SiteFolder(self.require_site())
        if folder.mapping_file.exists():
            with suppress(PPCMIError):  # whatever is wrong with the site itself is told below
                segmenter = self.segmenter(device)
                return segmenter.site, segmenter.encoders
        wanted = self._state(device)
        if self._site is None or self._site[0] != wanted:
            self._site = None
            loaded = folder.load(key, choose_device(device))
            self._site = wanted, loaded
            self._require_still(key)
            return loaded
        return self._site[1]

    def _require_still(self, key: ClientKey) -> None:
        """Keep nothing for a key that was locked while networks were loaded for it.

        Locking comes from another thread; that what was loaded is kept first, and dropped here,
        leaves no moment in between.
        """
        if self.key is not key:
            self._segmenter = self._site = None
            raise KeyFileError(
                "The client key was locked while the site's networks were being loaded.",
                hint="Unlock it on the Key page, then try again.",
            )

    def _state(self, device: str) -> object:
        """What loaded networks depend on."""
        key, folder = self.require_key(), self.require_site()
        files = sorted(folder.glob("*.safetensors"))
        stamps = tuple((file.name, file.stat().st_mtime_ns) for file in files)
        return key.key_id, folder, device, stamps
