"""The process that does the engine's work, so that napari's own process stays quick.

``main`` runs in the child (``python -m napari_ppcmi._worker.main``), ``desk`` is what it keeps
open between two jobs, and ``tasks`` says what to do for each request. Neither Qt nor napari.
"""
