"""The command line, ``ppcmi``."""
