"""The figures of the report: each a pure function of the prepared table that gives SVG text."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cryosnake.config.model import Config
from cryosnake.curation import FILTERS
from cryosnake.report.plots import Metric, along_session, dots, limits, running_median
from cryosnake.report.status import FILTER_TITLES
from cryosnake.report.svg import (
    ACCEPTED,
    GRID,
    INK,
    OTHER,
    REASON_COLOURS,
    REJECTED,
    as_svg,
    no_data,
    styled,
    threshold_line,
)

_MOST_BINS = 80


def _metrics(config: Config) -> dict[str, Metric]:
    c = config.curation
    return {
        m.column: m
        for m in (
            Metric("csnDose_counts_per_angst2", "Dose (counts/Å²)", reach=50.0),
            Metric("csnDriftPath_angst", "Drift path (Å)", 1.0, (c.drift_path_angst,)),
            Metric("csnDriftMax_angst", "Largest drift step (Å)", 1.0, (c.drift_max_angst,)),
            Metric(
                "rlnCtfMaxResolution",
                "CTF fits to (Å), less is better",
                1.0,
                (c.ctf_max_resolution_angst,),
            ),
            Metric(
                "csnDefocusMean_angst",
                "Defocus (µm)",
                1e-4,
                (c.defocus_min_angst * 1e-4, c.defocus_max_angst * 1e-4),
            ),
            Metric("csnIceRingScore", "Ice ring score (σ)"),
            Metric(
                "csnAstigmatism_ratio", "Astigmatism (%)", 100.0, (100 * c.astigmatism_max_ratio,)
            ),
            Metric(
                "csnSpectrumCorrelationMean",
                "Correlation of quadrants",
                1.0,
                (c.spectrum_min_mean,),
            ),
        )
    }


def outcome_figure(table: pd.DataFrame, config: Config) -> str:
    """What became of the movies along the session: accepted, or the filter that rejected."""
    with styled():
        figure = Figure(figsize=(9.6, 2.5), layout="constrained")
        axes = figure.add_subplot()
        if table.empty:
            no_data(axes)
            return as_svg(figure, "outcome", "No movies yet")
        # bins hold equal numbers of movies, so that a pause leaves no gap
        bins = max(1, min(_MOST_BINS, len(table) // 5))
        which = np.minimum((np.arange(len(table)) * bins) // len(table), bins - 1)
        edges = np.searchsorted(which, np.arange(bins + 1)) + 0.5
        total = np.bincount(which, minlength=bins)
        accepted = table["csnAccepted"].to_numpy() == 1
        bottom = np.zeros(bins)
        kinds = [("accepted", ACCEPTED, accepted)]
        reasons = table["csnReason"].to_numpy()
        kinds += [
            (FILTER_TITLES[name], REASON_COLOURS[name], ~accepted & (reasons == name))
            for name in FILTERS
        ]
        kinds.append(("no reason given", OTHER, ~accepted & ~np.isin(reasons, FILTERS)))
        for label, colour, mask in kinds:
            if not mask.any():
                continue
            share = 100.0 * np.bincount(which[mask], minlength=bins) / total
            steps = np.append(share + bottom, share[-1] + bottom[-1])
            axes.fill_between(
                edges,
                np.append(bottom, bottom[-1]),
                steps,
                step="post",
                color=colour,
                linewidth=0,
                label=label,
            )
            bottom += share
        axes.set(
            xlim=(0.5, len(table) + 0.5),
            ylim=(0, 100),
            xlabel="movie, in order of arrival",
            ylabel="share (%)",
        )
        axes.grid(visible=False)
        axes.locator_params(axis="x", integer=True)
        threshold_line(axes, 100 * config.report.low_acceptance)
        figure.legend(loc="outside upper left", ncols=7, handlelength=1.0, columnspacing=1.4)
        return as_svg(figure, "outcome", "Share of movies accepted and rejected, by reason")


def series_figure(table: pd.DataFrame, config: Config) -> str:
    """Dose, drift, CTF resolution, defocus and ice along the session, with running medians."""
    metrics = _metrics(config)
    chosen = [
        metrics[name]
        for name in (
            "csnDose_counts_per_angst2",
            "csnDriftPath_angst",
            "rlnCtfMaxResolution",
            "csnDefocusMean_angst",
            "csnIceRingScore",
        )
    ]
    with styled():
        figure = Figure(figsize=(9.6, 1.45 * len(chosen) + 0.4), layout="constrained")
        panels = figure.subplots(len(chosen), 1, sharex=True)
        along, along_title = along_session(table)
        for axes, metric in zip(panels, chosen, strict=True):
            axes.set_title(metric.title)
            values = table[metric.column].to_numpy() * metric.factor
            known = np.isfinite(values) & np.isfinite(along)
            if not known.any():
                no_data(axes)
                continue
            axes.set_ylim(*limits(values[known], metric))
            if metric.column == "csnDose_counts_per_angst2":
                _dose_band(axes, table, along, config.curation.dose_tolerance)
            accepted = table["csnAccepted"].to_numpy() == 1
            dots(axes, along, values, known & accepted, ACCEPTED, "o")
            dots(axes, along, values, known & ~accepted, REJECTED, "X")
            running_median(axes, along[known], values[known])
            for threshold in metric.thresholds:
                threshold_line(axes, threshold)
        panels[-1].set_xlabel(along_title)
        if np.isfinite(along).any():
            low, high = np.nanmin(along), np.nanmax(along)
            margin = 0.01 * (high - low) or 0.5
            panels[-1].set_xlim(low - margin, high + margin)
        if len(table):
            panels[0].plot([], [], "o", color=ACCEPTED, markersize=4, label="accepted")
            panels[0].plot([], [], "X", color=REJECTED, markersize=5, label="rejected")
            panels[0].plot([], [], "-", color=INK, linewidth=1.4, label="running median")
            figure.legend(loc="outside upper left", ncols=3)
        return as_svg(
            figure, "series", "Dose, drift, CTF resolution, defocus and ice over the session"
        )


def _dose_band(axes, table: pd.DataFrame, along: np.ndarray, tolerance: float) -> None:
    reference = table["csnDoseReference_counts_per_angst2"].to_numpy()
    known = np.flatnonzero(np.isfinite(reference) & np.isfinite(along))
    known = known[:: max(1, len(known) // 600)]
    known = known[np.argsort(along[known], kind="stable")]
    if len(known) > 1:
        low, high = axes.get_ylim()
        middle = float(np.median(reference[known]))
        reach = 1.2 * tolerance * middle
        axes.set_ylim(min(low, middle - reach), max(high, middle + reach))
        axes.fill_between(
            along[known],
            reference[known] * (1 - tolerance),
            reference[known] * (1 + tolerance),
            color=GRID,
            linewidth=0,
            zorder=0.5,
        )


def histogram_figure(table: pd.DataFrame, config: Config) -> str:
    """Distributions of the metrics, accepted and rejected stacked, with the thresholds."""
    metrics = _metrics(config)
    chosen = [
        metrics[name]
        for name in (
            "rlnCtfMaxResolution",
            "csnDefocusMean_angst",
            "csnAstigmatism_ratio",
            "csnDriftPath_angst",
            "csnDriftMax_angst",
            "csnSpectrumCorrelationMean",
            "csnIceRingScore",
            "csnDose_counts_per_angst2",
        )
    ]
    with styled():
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        accepted = table["csnAccepted"].to_numpy() == 1
        for axes, metric in zip(figure.subplots(2, 4).flat, chosen, strict=True):
            axes.set_title(metric.title)
            values = table[metric.column].to_numpy() * metric.factor
            known = np.isfinite(values)
            if not known.any():
                no_data(axes)
                continue
            low, high = limits(values[known], metric)
            bins = np.linspace(low, high, 29)
            clipped = np.clip(values, low, high)
            axes.hist(
                [clipped[known & accepted], clipped[known & ~accepted]],
                bins,
                stacked=True,
                color=[ACCEPTED, REJECTED],
                label=["accepted", "rejected"],
                linewidth=0,
            )
            axes.set_xlim(low, high)
            axes.grid(visible=False, axis="x")
            axes.locator_params(axis="y", integer=True, nbins=4)
            for threshold in metric.thresholds:
                threshold_line(axes, threshold, vertical=True)
        return as_svg(figure, "histograms", "Histograms of the quality metrics")


def scatter_figure(table: pd.DataFrame, config: Config) -> str:
    """Defocus against the resolution of the CTF fit, coloured by what became of the movie."""
    metrics = _metrics(config)
    defocus, resolution = metrics["csnDefocusMean_angst"], metrics["rlnCtfMaxResolution"]
    with styled():
        figure = Figure(figsize=(6.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlabel=defocus.title, ylabel=resolution.title)
        x = table[defocus.column].to_numpy() * defocus.factor
        y = table[resolution.column].to_numpy() * resolution.factor
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            no_data(axes)
            return as_svg(figure, "scatter", "No CTF has been fitted yet")
        axes.set_xlim(*limits(x[known], defocus))
        axes.set_ylim(*limits(y[known], resolution))
        x = np.clip(x, *axes.get_xlim())
        accepted = table["csnAccepted"].to_numpy() == 1
        dots(axes, x, y, known & accepted, ACCEPTED, "o")
        reasons = table["csnReason"].to_numpy()
        for name in FILTERS:
            mask = known & ~accepted & (reasons == name)
            if mask.any():
                dots(axes, x, y, mask, REASON_COLOURS[name], "X")
                axes.plot([], [], "X", color=REASON_COLOURS[name], label=FILTER_TITLES[name])
        axes.plot([], [], "o", color=ACCEPTED, markersize=4, label="accepted")
        for threshold in defocus.thresholds:
            threshold_line(axes, threshold, vertical=True)
        for threshold in resolution.thresholds:
            threshold_line(axes, threshold)
        figure.legend(loc="outside upper left", ncols=7, handlelength=0.8, columnspacing=1.0)
        return as_svg(figure, "scatter", "Defocus against the resolution of the CTF fit")
