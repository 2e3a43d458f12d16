"""What the widgets of one viewer share: whose site, which folders, what is unlocked. No Qt."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_ppcmi._preferences import Preferences
from napari_ppcmi._protocol.keys import DemoSite, IdentityInfo, KeyInfo, SiteInfo, Unlocked
from ppcmi_sf.home import default_home


class Session:
    """State of one viewer. Widgets read it, change it by methods, and listen to ``changed``."""

    changed = Signal()
    """Something here is different now."""

    arrived = Signal(str)
    """Bundles or masks came about: ``outbox``, ``inbox`` or ``masks``."""

    def __init__(self) -> None:
        self._preferences = Preferences.load()
        self._take_remembered_places()
        self.key: KeyInfo | None = None
        self.identity: IdentityInfo | None = None
        self.site: SiteInfo | None = None
        self.is_demo = False
        self.kept_layers: dict[str, tuple[weakref.ref[Any], int | None]] = {}
        """Layers, and frames of them, by the path that each was saved to for a query."""

    @property
    def preferences(self) -> Preferences:
        """What is remembered; habits as they are now, for a change takes effect at once."""
        self._preferences.follow_napari()
        return self._preferences

    @property
    def device(self) -> str:
        """What jobs that begin now compute on."""
        return self.preferences.device

    @property
    def is_unlocked(self) -> bool:
        """Whether masks can be made here now."""
        return self.key is not None and self.site is not None

    @property
    def masks_folder(self) -> Path | None:
        """Where masks are kept by themselves: in the site's folder."""
        return None if self.site is None else self.site.folder / "masks"

    @property
    def replies_folder(self) -> Path | None:
        """Where masks of replies are kept, each reply's in a folder of its own."""
        return None if self.masks_folder is None else self.masks_folder / "replies"

    def use(self, **places: Path | None) -> None:
        """Choose ``home``, ``site_folder``, ``key_file``, ``outbox`` or ``inbox``; remember it."""
        for name, place in places.items():
            setattr(self, name, place)
        if not self.is_demo:
            self.preferences.remember(**places)
        self.changed.emit()

    def use_demo(self, demo: DemoSite) -> None:
        """Work with the demo site in this session; nothing of it is remembered."""
        self.is_demo = True
        self.use(
            home=demo.home,
            site_folder=demo.site_folder,
            key_file=demo.key_file,
            outbox=demo.outbox,
            inbox=demo.inbox,
        )

    def set_unlocked(self, opened: Unlocked) -> None:
        """Take over what is open now."""
        self.key, self.identity, self.site = opened.key, opened.identity, opened.site
        self.changed.emit()

    def set_locked(self) -> None:
        """Nothing is open any more; after the demo, the user's own places are back."""
        self.key = self.identity = self.site = None
        if self.is_demo:
            self.is_demo = False
            self._take_remembered_places()
        self.changed.emit()

    def _take_remembered_places(self) -> None:
        chosen = self.preferences
        self.home: Path = chosen.home or default_home()
        self.site_folder: Path | None = chosen.site_folder
        self.key_file: Path | None = chosen.key_file
        self.outbox: Path | None = chosen.outbox
        self.inbox: Path | None = chosen.inbox
