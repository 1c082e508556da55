"""The answer of a sweep about its primary metric: two to four sentences, chosen by rules (docs/statistics.md)."""

from __future__ import annotations

from collections.abc import Sequence

from ablation.report.document.formatting import format_interval, format_p
from ablation.report.document.tables import family_name, format_progress
from ablation.report.loading.factors import SIGMA, format_value, is_noise
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.estimates import Estimate
from ablation.report.statistics.findings import Findings, shown_factors
from ablation.report.statistics.paired import least_seeds
from ablation.report.statistics.power import minimum_detectable_effect, seeds_needed
from ablation.report.statistics.verdicts import TestResults


def compose_answer(findings: Findings) -> str:
    """Return what is claimed, or why nothing is claimed and which effect the sweep could have detected."""
    sweep = findings.sweep
    measured = [e for e in findings.outcome.estimates if e.n]
    if not measured and len(sweep.completed):
        return (
            f"{sweep.primary_metric} has no value in any completed run ({format_progress(sweep)}): the test images "
            "hold no object that it counts. Repeat the command with another evaluation.primary_metric; completed runs "
            "are skipped."
        )
    if not measured:
        return f"No answer{'' if sweep.is_finished else ' yet'}: no cell has a result ({format_progress(sweep)})."
    text = " ".join([_compare(findings, measured), *_divergences(findings)])
    if sweep.is_finished:
        return text
    opening = text if text.startswith(sweep.primary_metric) else text[0].lower() + text[1:]
    return f"Preliminary ({format_progress(sweep)}): {opening}"


def _compare(findings: Findings, measured: Sequence[Estimate]) -> str:
    metric, outcome = findings.sweep.primary_metric, findings.outcome
    noisy = [e for e in measured if not e.is_baseline]
    without_noise = _range([e for e in measured if e.is_baseline])
    with_noise = _range([e for e in noisy if not e.is_partial])
    if not noisy:
        return f"{metric} without noise is {without_noise}. No cell with noise has a result to compare with it."
    if not outcome.complete and any(e.is_partial for e in noisy):
        return f"{metric}: nothing is claimed, because in every cell with noise a training or its baseline's diverged."
    if not outcome.compared:
        return (
            f"{metric} with noise is {with_noise}. There is no baseline of the same seed to compare with. Add one to "
            "the sweep: noise.sigma=0, or noise=none if another parameter sets the strength of the noise."
        )
    if max(e.pairs for e in outcome.complete) == 1:
        return (
            f"{metric} is {without_noise} without noise and {with_noise} with noise. Each comparison has only one "
            "seed, so no effect is claimed: one seed does not show how much repeated trainings differ, and another "
            f"seed alone changes AP by about 0.5 to 2 points. Add 'seed=range({least_seeds()})'."
        )
    if outcome.decision.reason:
        sentences = [_largest_difference(findings), outcome.decision.reason]
        if outcome.sd is not None:
            sentences.append(f"The measured spread over seeds (sd {outcome.sd:.2g}) is itself a rough estimate.")
            sentences.append(_needed_seeds(outcome.sd))
    elif any(v.is_claimed for v in (*outcome.decision.cells, *outcome.decision.trends)):
        sentences = [_claims(metric, outcome), _largest_difference(findings), _untested(outcome)]
    else:
        sentences = [_no_claim(metric, outcome), _largest_difference(findings), _power(outcome), _untested(outcome)]
    return " ".join(filter(None, sentences))


def _claims(metric: str, outcome: TestResults) -> str:
    decision = outcome.decision
    cells = [v for v in decision.cells if v.is_claimed]
    trends = [t for t in decision.trends if t.is_claimed]
    signs = {v.effect > 0 for v in (*cells, *trends)}
    verb = "raises" if True in signs else "lowers"
    change = f"{verb} {metric}" if len(signs) == 1 else f"changes {metric} in both directions"
    claimed = f"{len(cells)} of {_count(decision.cells, 'cell')}"
    if decision.trends:
        claimed += f" and {len(trends)} of {_count(decision.trends, 'trend')} over sigma"
    text = (
        f"Feature noise {change}: an effect is claimed for {claimed} "
        f"(one exact sign-flip test of all of them, p < {decision.alpha:g})."
    )
    if not trends:
        return text
    steepest = max(trends, key=lambda t: abs(t.effect))
    return (
        f"{text} The steepest trend, of {family_name(steepest)}, is {steepest.effect:+.1f} points from sigma 0 to the "
        f"highest sigma (n = {steepest.seeds}, joint p = {format_p(steepest.p_joint)})."
    )


def _no_claim(metric: str, outcome: TestResults) -> str:
    decision = outcome.decision
    cells = [v for v in decision.cells if v.seeds >= decision.needed]
    trends = [t for t in decision.trends if t.seeds >= decision.needed]
    tested = _count(cells, "cell") + (f" and {_count(trends, 'trend')}" if trends else "")
    smallest = format_p(min(v.p_joint for v in (*cells, *trends)))
    return f"No effect on {metric} is claimed: the smallest joint p of {tested} is {smallest}."


def _largest_difference(findings: Findings) -> str:
    sweep, compared = findings.sweep, findings.outcome.complete
    largest = max(compared, key=lambda e: abs(e.difference or 0.0))
    cell = _name(sweep, largest)
    interval = largest.difference_interval
    covered = f"95 % interval {format_interval(interval)} of this cell alone" if interval else "no interval"
    facts = [f"n = {largest.pairs}", covered]
    if largest.verdict and (joint_p := format_p(largest.verdict.p_joint)):
        facts.append(f"joint p = {joint_p}")
    text = (
        f"The largest seed-paired difference from the baseline, among {_count(compared, 'cell')}, is "
        f"{largest.difference:+.1f} points of {sweep.primary_metric}, at {cell} ({'; '.join(facts)})."
    )
    return f"{text} {interval.caveat}" if interval and interval.caveat else text


def _divergences(findings: Findings, most: int = 3) -> list[str]:
    # Noise types that share a baseline share its sentence.
    sentences = dict.fromkeys(_divergence(findings.sweep, e) for e in findings.outcome.estimates if e.divergence)
    more = len(sentences) - most
    return [*list(sentences)[:most], *([f"The table names {more} more such cells."] if more > 0 else [])]


def _divergence(sweep: Sweep, e: Estimate) -> str:
    text = f"{_name(sweep, e)}: {e.divergence}"
    if not e.is_partial or e.difference is None:
        return f"{text}."
    others = f"{e.pairs} others differ" if e.pairs > 1 else "other one differs"
    return f"{text}; the {others} by {e.difference:+.1f} points, from which nothing is claimed."


def _name(sweep: Sweep, e: Estimate) -> str:
    values = {SIGMA: e.sigma, **e.factors}
    factors = [f for f in shown_factors(sweep) if f == SIGMA or not (e.is_baseline and is_noise(f))]
    return ", ".join(f"{factor}={format_value(values[factor])}" for factor in factors)


def _power(outcome: TestResults) -> str:
    decision = outcome.decision
    if outcome.sd is None:
        return ""
    seeds = min(v.seeds for v in (*decision.cells, *decision.trends) if v.seeds >= decision.needed)
    return (
        f"With {seeds} seeds and the measured spread (sd {outcome.sd:.2g}), a test of one cell alone has 80 % power to "
        f"detect an effect of {minimum_detectable_effect(outcome.sd, seeds):.1f} AP; a smaller effect may have been "
        f"missed. {_needed_seeds(outcome.sd)}"
    )


def _needed_seeds(sd: float) -> str:
    return f"An effect of 1.0 AP needs {seeds_needed(sd, 1.0)} seeds, one of 0.5 AP {seeds_needed(sd, 0.5)}."


def _untested(outcome: TestResults) -> str:
    few = [v for v in outcome.decision.cells if v.seeds < outcome.decision.needed]
    return f"Not tested: {_count(few, 'cell')} with fewer than {outcome.decision.needed} seeds." if few else ""


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}" + "s" * (len(items) != 1)


def _range(estimates: Sequence[Estimate]) -> str:
    # Cells may share a run (one baseline for all noise types), so equal values are listed once.
    values = sorted({f"{e.value:.1f}" for e in estimates if e.value is not None}, key=float)
    return " to ".join(dict.fromkeys((values[0], values[-1]))) if values else "not measured"
