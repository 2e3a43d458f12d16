"""Dock widgets, one per file: they show, ask, and hand requests over to the worker."""
