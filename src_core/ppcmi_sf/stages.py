"""The progress of a job that consists of several: it never goes back."""

from __future__ import annotations

from ppcmi_sf.progress import Job, Progress, Result, retold

PARTS = 10_000


class Stages:
    """Shows jobs that are run one after another as parts of one.

    Parameters
    ----------
    total
        Weights of all stages together. More stages than that do no harm: the progress then waits
        at the end.
    """

    def __init__(self, total: int) -> None:
        self._total = max(1, total)
        self._done = 0

    def run(self, job: Job[Result], weight: int = 1, message: str = "") -> Job[Result]:
        """Run one stage; a stage that counts anew within itself does not go back.

        Parameters
        ----------
        weight
            How long it takes beside the others.
        message
            What is shown before the job's own messages.
        """
        before, highest = self._done, 0.0
        self._done = before + weight

        def tell(step: Progress) -> Progress:
            nonlocal highest
            highest = max(highest, step.fraction)
            share = min(1.0, (before + weight * highest) / self._total)
            text = f"{message}: {step.message}" if message else step.message
            return Progress(int(PARTS * share), PARTS, text, step.values)

        return (yield from retold(job, tell))
