"""Work outside the GUI: the worker process, and its jobs as Qt signals.

``process`` starts, feeds and ends the child; ``jobs`` brings what it says to the GUI thread.
"""

from napari_ppcmi._jobs.jobs import Job, Jobs, jobs_for, peek_jobs

__all__ = ["Job", "Jobs", "jobs_for", "peek_jobs"]
