"""What a sweep says about its primary metric, in two to four sentences worded by rule (docs/statistics.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ablation.report.document.tables import format_interval, format_p, progress
from ablation.report.loading.factors import SIGMA, format_value
from ablation.report.loading.sweep import Sweep
from ablation.report.statistics.decision import Decision, TrendVerdict
from ablation.report.statistics.estimates import Estimate
from ablation.report.statistics.findings import Findings, shown_factors
from ablation.report.statistics.paired import least_seeds
from ablation.report.statistics.power import minimum_detectable_effect, seeds_needed


def answer(findings: Findings) -> str:
    """What is claimed, or why nothing is and what could have been found."""
    sweep = findings.sweep
    measured = [e for e in findings.outcome.estimates if e.n]
    if not measured:
        return f"No answer yet: no cell has a result ({progress(sweep)})."
    text = _comparison(findings, measured)
    if len(sweep.completed) == len(sweep.runs):
        return text
    opening = text if text.startswith(sweep.primary_metric) else text[0].lower() + text[1:]
    return f"Preliminary ({progress(sweep)}): {opening}"


def family_name(trend: TrendVerdict) -> str:
    """The family of a trend; a sweep of sigma alone has one without a name."""
    return trend.family or "all cells"


def _comparison(findings: Findings, measured: Sequence[Estimate]) -> str:
    metric = findings.sweep.primary_metric
    baselines = [e for e in measured if e.is_baseline]
    noisy = [e for e in measured if not e.is_baseline]
    compared = findings.outcome.compared
    if not noisy:
        return f"{metric} without noise is {_span(baselines)}. No cell with noise has a result to compare it with."
    if not compared:
        return (
            f"{metric} with noise is {_span(noisy)}. There is no baseline of the same seed to compare it with; "
            "add it to the sweep (noise.sigma=0, or noise=none where another parameter sets the strength)."
        )
    if max(e.pairs for e in compared) == 1:
        return (
            f"{metric} is {_span(baselines)} without noise and {_span(noisy)} with it. Each comparison rests on one "
            "seed, so the variance of repeated training is not covered and no difference is called an effect: "
            "repeating the same training with another seed alone moves AP by about 0.5 to 2 points. "
            f"Add 'seed=range({least_seeds()})'."
        )
    decision = findings.outcome.decision
    if decision.reason:
        return " ".join([_largest(findings), decision.reason, _needed(findings)])
    if any(v.is_claimed for v in (*decision.cells, *decision.trends)):
        return " ".join([_claims(findings), _largest(findings), *_untested(decision)])
    return " ".join([_no_claim(findings), _largest(findings), _power(findings), *_untested(decision)])


def _claims(findings: Findings) -> str:
    decision = findings.outcome.decision
    cells = [v for v in decision.cells if v.is_claimed]
    trends = [t for t in decision.trends if t.is_claimed]
    signs = {v.effect > 0 for v in (*cells, *trends)}
    verb = "changes, in either direction," if len(signs) > 1 else "raises" if True in signs else "lowers"
    parts = [f"{len(cells)} of {_counted(len(decision.cells), 'cell')}"]
    if decision.trends:
        parts.append(f"{len(trends)} of {_counted(len(decision.trends), 'trend')} over sigma")
    text = (
        f"Feature noise {verb} {findings.sweep.primary_metric}: an effect is claimed for {' and '.join(parts)} "
        f"(one exact sign-flip test of all together, p < {decision.alpha:g})."
    )
    if not trends:
        return text
    steepest = max(trends, key=lambda t: abs(t.effect))
    return (
        f"{text} The steepest trend, of {family_name(steepest)}, is {steepest.effect:+.1f} points from sigma 0 to the "
        f"highest (n = {steepest.seeds}, joint p = {format_p(steepest.p_joint)})."
    )


def _no_claim(findings: Findings) -> str:
    decision = findings.outcome.decision
    tested = [v for v in (*decision.cells, *decision.trends) if v.seeds >= decision.needed]
    smallest = format_p(min(v.p_joint for v in tested))
    return (
        f"No effect on {findings.sweep.primary_metric} is claimed: the smallest p of "
        f"{_hypotheses(decision)}, tested together, is {smallest}."
    )


def _largest(findings: Findings) -> str:
    compared = findings.outcome.compared
    largest = max(compared, key=lambda e: abs(e.difference or 0.0))
    among = f"among {len(compared)} cells" if len(compared) > 1 else "of one cell"
    interval = largest.difference_interval
    verdict = "" if largest.verdict is None else format_p(largest.verdict.p_joint)
    facts = [
        f"n = {largest.pairs}",
        f"95 % interval {format_interval(interval) or 'none, one seed'}, for this cell alone",
    ]
    facts += [f"joint p = {verdict}"] if verdict else []
    text = (
        f"The largest seed-paired difference in {findings.sweep.primary_metric} to the baseline {among} is "
        f"{largest.difference:+.1f} points, at {_named(findings.sweep, largest)} ({'; '.join(facts)})."
    )
    return f"{text} {interval.caveat}" if interval and interval.caveat else text


def _power(findings: Findings) -> str:
    """What could have been found, from the measured spread and the fewest seeds of a tested cell."""
    sd, decision = findings.outcome.sd, findings.outcome.decision
    if sd is None:
        return ""
    seeds = min(v.seeds for v in (*decision.cells, *decision.trends) if v.seeds >= decision.needed)
    least = f"{minimum_detectable_effect(sd, seeds):.1f}"
    return (
        f"No effect above {least} AP could be detected: with {seeds} seeds and the measured spread (sd {sd:.2g}) one "
        f"cell tested alone would have shown an effect of {least} AP four times in five. {_seeds(sd)}"
    )


def _needed(findings: Findings) -> str:
    sd = findings.outcome.sd
    return "" if sd is None else f"The measured spread has an sd of {sd:.2g}, itself uncertain. {_seeds(sd)}"


def _seeds(sd: float) -> str:
    return f"An effect of 1.0 AP needs {seeds_needed(sd, 1.0)} seeds, one of 0.5 AP {seeds_needed(sd, 0.5)}."


def _untested(decision: Decision) -> list[str]:
    few = sum(v.seeds < decision.needed for v in decision.cells)
    return [f"Not tested: {_counted(few, 'cell')} with fewer than {decision.needed} seeds."] if few else []


def _hypotheses(decision: Decision) -> str:
    parts = [_counted(sum(v.seeds >= decision.needed for v in decision.cells), "cell")]
    trends = sum(t.seeds >= decision.needed for t in decision.trends)
    return " and ".join([*parts, _counted(trends, "trend")] if trends else parts)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def _span(estimates: Iterable[Estimate]) -> str:
    # Cells may share a run (one baseline for all types): a value said once is enough.
    values = sorted({f"{e.value:.1f}" for e in estimates if e.value is not None}, key=float)
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}" if values else "not measured"


def _named(sweep: Sweep, estimate: Estimate) -> str:
    values = {SIGMA: estimate.sigma, **estimate.factors}
    return ", ".join(f"{f}={format_value(values[f])}" for f in shown_factors(sweep))
