"""Trainings as generators of progress: resumable, cancellable, seeded."""
