"""What the engine says of its command line, in words of the window.

The engine's hints name the verbs and options of ``ppcmi``, which is right for whoever typed one.
In the window the same is done with a button, and this table alone says with which. A test reads
every text of the engine and fails if one would get through with a verb or an option in it.
"""

from __future__ import annotations

import re

_KEY, _PARTNERS, _JOINING = "on the Key page", "'Partners' on the Key page", "'Joining a study'"

# Whole phrases come before the verbs that are in them.
_PHRASES = (
    (r"Name them with --to, by the names that 'ppcmi contact list' shows",
     "Tick at least one recipient"),
    (r", or name somebody with --to", ", or choose somebody else"),
    (r" \(--to\)", ""),
    (r"\(only without --quick\)", "(only in full)"),
    (r", or name another folder with --home", ""),
    (r" \(--home\)", ""),
    (r"'ppcmi site protect' without --pairs", "the Encode page"),
    (r"'ppcmi site protect --pairs'", "'Encode', with the purpose of training"),
    (r"Use --precision float32; if that fails too, train the autoencoders again",
     "Train the site models again ('Train site models', 'Replace what is there')"),
    (r"say so with --new-server, and compare the words again",
     "accept its list in a terminal (user guide, 'Identity, contacts, joining')"),
    (r"say so with --again", "say so when you are asked"),
    (r"to protect its pairs again with --parts \S+?, or train without cross-fitting",
     "to encode its pairs again with 'Patients in separate files' ('More settings' on the Encode "
     "page), or train without 'Harder to tell who took part'"),
    (r"With --retrain", "With 'Replace what is there' under 'More settings'"),
    (r" \(ppcmi share-transform( --to)?\)", " ('Share for the mapping server…' on the Exchange "
     "page)"),
    (r" and give it with --share", " and put it into the folder of shares"),
    (r"Leave out --share,", "Leave the field of the shares empty,"),
    (r" \(--batch-size\)", " ('More settings')"),
    (r" \(--device cpu\)", " (Preferences > Plugins > PPCMI-SF)"),
    (r"Choose one( of these)? with --series UID",
     "Open the series with 'Open study…', then use its layer"),
    (r"Read it as a single file and choose one with --frame N",
     "Open it as a single file with 'Open study…' and choose the frame there"),
    (r"Choose one with --frame N, N from 0 to \S+?\.",
     "Choose the frame with 'Open study…', then use its layer."),
    (r"Leave out --frame", "Open it without choosing a frame"),
    (r"Add for example --window 40 400", "Give its centre and its width, for example 40 and 400"),
    (r", or make the data with: ppcmi demo --sample-data FOLDER", "."),
    (r"Give them to two commands, one after the other, with two folders for --out",
     "Rename one of the two images and ask again"),
    (r"Give another folder with --out", "Move that file to another folder"),
    (r"([Rr])un the same command again", r"\1epeat what you did"),
    (r"give this command again", "try again"),
    (r"another ppcmi command", "another program or window"),
    (r": 'ppcmi contact remove [^']*'", f" ({_PARTNERS})"),
    (r"compare it with 'ppcmi inspect'", "compare the fingerprint that is shown below the file"),
    (r"'ppcmi key show' tells its id", f"its id is shown {_KEY} when you choose it"),
)  # fmt: skip
_VERBS = {
    "contact add": _PARTNERS,
    "identity new": f"'New identity…' {_KEY}",
    "identity renew": f"'Renew identity…' {_KEY}",
    "key new": f"'New client key…' {_KEY}",
    "key rotate": f"'Rotate key…' {_KEY}",
    "join approve": f"'Let a site in…' under {_JOINING} {_KEY}",
    "join accept": f"'Take over a list…' under {_JOINING} {_KEY}",
    "join remove": f"'Take a site out…' under {_JOINING} {_KEY}",
    "join show": f"{_JOINING} {_KEY}",
    "study new": "'New study…'",
    "site train": "'Train site models'",
    "site protect": "'Encode'",
    "site install": "'Install mapping network'",
    "server train": "'Mapping server'",
    "server map": "'Mapping server'",
    "server publish": "'Give the network'",
}
_VERB = re.compile(
    r"'?\bppcmi (" + "|".join(sorted(_VERBS, key=len, reverse=True)) + r")\b( --?\w+ [A-Z]+)?'?"
)


def in_window_words(text: str) -> str:
    """A sentence of the engine as a user of the window reads it."""
    for phrase, words in _PHRASES:
        text = re.sub(phrase, words, text)
    return _VERB.sub(lambda found: _VERBS[found.group(1)], text)
