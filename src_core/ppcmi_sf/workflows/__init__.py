"""Folders and files in, folders and files out: what the command line and the GUI call.

Every function here is a job (a generator of progress) that goes on with the
other cases when one fails, can be cancelled at any step, and leaves nothing
half-written.
"""
