"""What a site or server remembers, in one SQLite file that never leaves it.

``cases``: which item of which bundle is which slice of which case. ``key_epochs``: which key is
the newest. ``log``: the disclosure log.
``contacts``: whom it knows. ``members``: who takes part in which study.
"""

from ppcmi_sf.registry.cases import (
    AnsweredQuery,
    Registry,
    SentBundle,
    SentCase,
    SentItem,
    source_stamp,
)
from ppcmi_sf.registry.contacts import Contact, ContactBook
from ppcmi_sf.registry.database import Database
from ppcmi_sf.registry.key_epochs import KeyEpochs
from ppcmi_sf.registry.log import DisclosureLog, LogEntry
from ppcmi_sf.registry.members import Memberships

__all__ = [
    "AnsweredQuery",
    "Contact",
    "ContactBook",
    "Database",
    "DisclosureLog",
    "KeyEpochs",
    "LogEntry",
    "Memberships",
    "Registry",
    "SentBundle",
    "SentCase",
    "SentItem",
    "source_stamp",
]
