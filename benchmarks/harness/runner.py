"""Runs a plan: every data set, seed and row that the results file does not hold yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from harness.budget import Stage
from harness.cache import StageCache, code_digest
from harness.data import (
    BenchmarkData,
    Failures,
    base_study,
    cases_of,
    joining_site,
    load_data,
    site_plans,
)
from harness.latent_rows import LatentRun, NewSiteRun, count_parameters
from harness.pictures import draw_sites
from harness.plan import DataSet, Plan
from harness.results import ResultsFile, RunKey, provenance, setting_name, settings_hash
from harness.rows import Row
from harness.scoring import Predict, score_sites
from harness.traffic import fedavg_bytes, query_bytes, reply_bytes
from harness.unet import train_fedavg, train_unet
from ppcmi_sf.data import Case
from ppcmi_sf.device import device_model
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.study import StudySpec


@dataclass(frozen=True)
class Outcome:
    """What a run gives the results file, beside its key."""

    stages: list[Stage]
    cases: list[dict[str, Any]]
    parameters: dict[str, int]
    bytes: dict[str, int]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Runner:
    """A plan and where things are.

    Attributes
    ----------
    root
        Folder of the data sets.
    work
        Folder for trainings that rows share, and for phantoms.
    say
        Called with a line for each run.
    device
        Where networks train and predict.
    pictures
        Folder for a picture of each run's masks over some test images; none if ``None``.
    begin
        No training begins before this time (of ``time.time()``).
    stopped
        Data sets that could not be finished, and why.
    left_out
        Data set and name of each case that could not be used, and why.
    """

    plan: Plan
    root: Path
    work: Path
    results: ResultsFile
    say: Callable[[str], None]
    device: torch.device
    pictures: Path | None = None
    begin: float = 0.0
    stopped: dict[str, PPCMIError] = field(default_factory=dict)
    left_out: dict[tuple[str, str], PPCMIError] = field(default_factory=dict)

    def run(
        self, rows: Sequence[str] = (), datasets: Sequence[str] = (), seeds: Sequence[int] = ()
    ) -> int:
        """Do what is missing (of the named rows, data sets, seeds); how many runs that were.

        A data set that stops does not keep the next from its turn; see ``stopped``.
        """
        done = 0
        provenance()  # the code that is loaded now, whatever is edited while this runs
        code_digest()
        for dataset in self.plan.datasets:
            if datasets and dataset.name not in datasets:
                continue
            try:
                for _ in self._dataset(dataset, rows, seeds or self.plan.seeds):
                    done += 1
            except PPCMIError as error:
                self.stopped[dataset.name] = error
                self.say(f"{dataset.name}: stopped. {error}")
        return done

    def _dataset(
        self, dataset: DataSet, rows: Sequence[str], seeds: Sequence[int]
    ) -> Iterator[RunKey]:
        """Do what is missing of a data set; each run when it is in the results file."""
        cases, problems = cases_of(dataset, self.root, self.work)
        for seed in seeds:
            for row in self.plan.rows:
                if not rows or row.name in rows:
                    yield from self._row(dataset, cases, problems, row, seed)

    def _row(
        self, dataset: DataSet, cases: Sequence[Case], problems: Failures, row: Row, seed: int
    ) -> Iterator[RunKey]:
        for count in row.site_counts or (None,):
            missing = [
                (key, pairs)
                for key, pairs in self._keys(dataset, row, seed, count)
                if not self.results.holds(key)
            ]
            if not missing:
                continue
            data = load_data(self.plan, dataset, cases, count)
            data = replace(data, failures=[*problems, *data.failures])
            self._tell_left_out(dataset, data.failures)
            if row.kind == "new-site":
                missing = self._within_the_joiners_slices(missing, data)
                if not missing:
                    continue
            stages = StageCache(self.work / "stages")
            run = _Run(self.plan, dataset, row, data, seed, stages, self.device, self.pictures)
            self.say(f"{dataset.name}, seed {seed}, {len(data.sites)} sites: {row.name} ...")
            time.sleep(max(0.0, self.begin - time.time()))
            started = time.monotonic()
            for (key, _), outcome in zip(
                missing, run.outcomes([pairs for _, pairs in missing]), strict=True
            ):
                self._note(key, row, data, outcome)
                self.say(
                    f"{dataset.name}, seed {seed}: {key.row}: Dice {mean_dice(outcome.cases):.3f}, "
                    f"{sum(stage.cpu_seconds for stage in outcome.stages):.0f} s of training, "
                    f"{time.monotonic() - started:.0f} s in all"
                )
                yield key

    def _tell_left_out(self, dataset: DataSet, failures: Failures) -> None:
        """Say what could not be used, once for all rows and seeds."""
        for case, error in failures:
            if (dataset.name, case) not in self.left_out:
                self.left_out[dataset.name, case] = error
                self.say(f"{dataset.name}: left out {case}: {error}")

    def _within_the_joiners_slices(
        self, missing: Sequence[tuple[RunKey, int]], data: BenchmarkData
    ) -> list[tuple[RunKey, int]]:
        """Runs for which the new site has slices enough: no row says 40 where there are 23."""
        joiner = joining_site(data)
        there = len(data.sites[joiner].training)
        for key, pairs in missing:
            if pairs > there:
                self.say(
                    f"{key.dataset}, seed {key.seed}: {key.row} left out: {joiner} has {there} "
                    "training slices"
                )
        return [(key, pairs) for key, pairs in missing if pairs <= there]

    def _keys(
        self, dataset: DataSet, row: Row, seed: int, count: int | None
    ) -> Iterator[tuple[RunKey, int]]:
        """A run's key; a new site has one for each number of pairs."""
        sites = len(site_plans(self.plan, count))
        settings = self.plan.settings_of(dataset, row) | {"device": device_model(self.device)}
        if count is not None:
            settings |= {"sites": count}
        mark = settings_hash(settings)
        if row.kind != "new-site":
            yield RunKey(dataset.name, row.name, seed, sites, mark), 0
            return
        for pairs in self.plan.new_site_pairs:
            yield RunKey(dataset.name, run_name(row, pairs), seed, sites, mark), pairs

    def _note(self, key: RunKey, row: Row, data: BenchmarkData, outcome: Outcome) -> None:
        fields = {
            "plan": self.plan.name,
            "device": device_model(self.device),
            "kind": row.kind,
            "budget_cpu_seconds": self.plan.budget_cpu_seconds * row.budget_factor,
            "cpu_seconds": sum(stage.cpu_seconds for stage in outcome.stages),
            "wall_seconds": sum(stage.wall_seconds for stage in outcome.stages),
            "stages": [stage.to_json() for stage in outcome.stages],
            "slices": {
                name: [len(site.training), len(site.validation)]
                for name, site in data.sites.items()
            },
            "settings": row.model_dump(mode="json")
            | {"image_size": list(self.plan.image_size), "autoencoder": self.plan.preset_of(row)},
            "parameters": outcome.parameters,
            "bytes": outcome.bytes,
            "notes": outcome.notes,
            "left_out": {name: error.message for name, error in data.failures},
            "cases": outcome.cases,
        }
        self.results.append(key, fields | provenance())


@dataclass
class _Run:
    plan: Plan
    dataset: DataSet
    row: Row
    data: BenchmarkData
    seed: int
    cache: StageCache
    device: torch.device
    pictures: Path | None

    def outcomes(self, pairs: Sequence[int]) -> Iterator[Outcome]:
        """One outcome, or one for each number of pairs of a new site."""
        if self.row.kind == "new-site":
            yield from self._new_site(pairs)
        elif self.row.kind == "latents":
            yield self._latents()
        elif self.row.kind == "site-unet":
            yield self._site_unets()
        else:
            yield self._one_unet()

    def _latents(self) -> Outcome:
        run = LatentRun(
            self.plan, self.dataset, self.row, self.data, self.seed, self.cache, self.device
        )
        answering = run.train()
        cases = self._scores(
            run.study, self.data.sites, lambda name: lambda planes: answering.predict(name, planes)
        )
        return Outcome(run.stages, cases, run.parameters, _latent_bytes(run))

    def _new_site(self, pairs: Sequence[int]) -> Iterator[Outcome]:
        run = NewSiteRun(
            self.plan, self.dataset, self.row, self.data, self.seed, self.cache, self.device
        )
        run.train_others()
        for number in pairs:
            answering, stages = run.join(number)
            cases = self._scores(
                run.study,
                [run.joiner],
                lambda name, on=answering: lambda planes: on.predict(name, planes),
                number,
            )
            notes = {
                "pairs": number,
                "training_slices": len(self.data.sites[run.joiner].training),
                "others_cpu_seconds": run.others_seconds(),
            }
            yield Outcome(stages, cases, run.parameters, _latent_bytes(run), notes)

    def _site_unets(self) -> Outcome:
        study, stages, tasks = base_study(self.plan, self.dataset), [], {}
        for name, site in self.data.sites.items():
            stage = Stage("unet", name)
            budget = self._budget / len(self.data.sites)
            tasks[name] = train_unet(
                study, [site], self.seed, budget, self.plan, stage, self.device
            )
            stages.append(stage)
        cases = self._scores(study, tasks, lambda name: tasks[name].predict)
        parameters = count_parameters(next(iter(tasks.values())).model)
        return Outcome(stages, cases, {"unet": parameters}, {"training": 0})

    def _one_unet(self) -> Outcome:
        study, stage = base_study(self.plan, self.dataset), Stage("unet")
        sites = self.data.sites
        if self.row.kind == "fedavg":
            task = train_fedavg(
                study, sites, self.seed, self._budget, self.plan, stage, self.device
            )
            sent = fedavg_bytes(task.model, len(sites), stage.notes["rounds"])
        else:
            every = list(sites.values())
            task = train_unet(study, every, self.seed, self._budget, self.plan, stage, self.device)
            sent = 0
        predict = task.predict
        cases = self._scores(study, sites, lambda _name: predict)
        return Outcome([stage], cases, {"unet": count_parameters(task.model)}, {"training": sent})

    def _scores(
        self,
        study: StudySpec,
        sites: Iterable[str],
        predictor: Callable[[str], Predict],
        pairs: int = 0,
    ) -> list[dict[str, Any]]:
        """Score the test set, and draw some of it where pictures are wanted."""
        names = list(sites)
        if self.pictures is not None:
            of = setting_name(self.dataset.name, study.image_size, len(self.data.sites))
            row = run_name(self.row, pairs)
            path = self.pictures / f"{of}-{row}-seed-{self.seed}.png"
            draw_sites(path, study, self.data, names, predictor)
        return score_sites(study, self.data, names, predictor)

    @property
    def _budget(self) -> float:
        return self.plan.budget_cpu_seconds * self.row.budget_factor


def _latent_bytes(run: LatentRun) -> dict[str, int]:
    return {
        "training": run.training_bytes,
        "query": query_bytes(run.study),
        "reply": reply_bytes(run.study),
    }


def run_name(row: Row, pairs: int = 0) -> str:
    """A row's name in the results; a new site has one for each number of its pairs."""
    return f"{row.name}-{pairs}" if pairs else row.name


def mean_dice(cases: Sequence[dict[str, Any]]) -> float:
    """Mean Dice over sites, cases and classes."""
    return sum(case["dice"] for case in cases) / len(cases)
