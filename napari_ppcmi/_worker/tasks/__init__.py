"""Which function answers which request. Each module is imported when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_MODULES = {
    "keys": ("LookAtHome", "LookAtKey", "LookAtStudy", "Unlock", "Lock", "CreateIdentity",
             "RenewIdentity", "CreateKey", "RotateKey", "PrepareDemo"),
    "joining": ("LookAtMembership", "WriteJoinRequest", "ReadJoinRequest", "LetIn", "TakeOut",
                "RenewList", "ReadMembershipList", "TakeOver"),
    "contacts": ("ExportCard", "ReadCard", "AddContact", "RevokeContact", "RemoveContact"),
    "images": ("OpenImage", "ListSeries", "SaveMask", "CompareLabels", "CountLabels",
               "MakeThumbnail"),
    "segment": ("Segment",),
    "kept": ("KeptMasks", "OpenKeptMask"),
    "protect": ("FindCases", "KeepLayer", "ReviewExport", "WriteBundles", "WriteShare"),
    "exchange": ("ScanFolder", "LookAtBundle", "TakeIn", "MapHere", "InstallModel", "ReadLog",
                 "ExportLog"),
    "reveal": ("Reveal", "OpenRevealed"),
    "training": ("NewStudy", "TrainSite", "AlignSite", "TrainServer", "JoinServer",
                 "AnswerQueries", "PublishModel"),
    "audit": ("AuditSite",),
}  # fmt: skip
_HOMES = {request: module for module, requests in _MODULES.items() for request in requests}


def find_task(request: type[Any]) -> Callable[..., Any]:
    """The function of a request: ``tasks.keys.unlock`` for ``Unlock``.

    It takes the desk and the request, and gives an answer, or a generator of
    :class:`ppcmi_sf.progress.Progress` that returns one.
    """
    name = request.__name__
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    task: Callable[..., Any] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), snake)
    return task
