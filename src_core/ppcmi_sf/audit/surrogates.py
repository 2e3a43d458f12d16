"""Networks that an attacker trains, with a small budget, by the engine's own training."""

from __future__ import annotations

from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.short_training import fit_for_steps, train_on_all
from ppcmi_sf.audit.subject import GroupedSlices, Partner, Subject, choose, divide
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import Job

BATCH_SIZE = 8
RATE = 4e-3  # higher than a site's own: there are few steps


def surrogate_autoencoder(
    subject: Subject,
    options: AuditOptions,
    slices: GroupedSlices,
    number: int,
) -> Job[Autoencoder]:
    """Train an image autoencoder on slices, or give the one that was trained before.

    Parameters
    ----------
    slices
        All of them are trained on; ``number`` must name them within an audit.
    number
        Another number, another seed.
    """
    name = f"{number}-{options.seed}-{options.step_limit}-{len(slices)}"
    if name not in subject.surrogates:
        seed = 1000 * (options.seed + 1) + number
        fit = fit_for_steps(
            len(slices), options.step_limit, seed, batch_size=BATCH_SIZE, learning_rate=RATE
        )
        subject.surrogates[name] = yield from train_on_all(
            subject, "image", slices, fit, augment=len(slices) < 100
        )
    return subject.surrogates[name]


def attackers_autoencoder(subject: Subject, options: AuditOptions) -> Job[Autoencoder]:
    """An image autoencoder that an attacker trained on the public images."""
    slices = choose(subject.public, options.item_limit, options.seed)
    return (yield from surrogate_autoencoder(subject, options, slices, 1))


def partners_of(subject: Subject, options: AuditOptions) -> Job[tuple[Partner, ...]]:
    """The partners that were given; else two surrogates, on a half of the public images each."""
    if subject.partners:
        return subject.partners
    partners = []
    halves = divide(subject.public, 0.5, options.seed)
    for number, (name, half) in enumerate(zip(("B", "C"), halves, strict=True), start=2):
        chosen = choose(half, options.item_limit, options.seed)
        model = yield from surrogate_autoencoder(subject, options, chosen, number)
        partners.append(Partner(f"surrogate {name}", model))
    return tuple(partners)
