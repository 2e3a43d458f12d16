"""What napari's process and the worker say to each other: the pipe, and the vocabulary.

``wire`` moves messages, ``message`` is what they have in common, and the other modules hold
one topic each. Neither Qt nor napari, and nothing slow to import.
"""
