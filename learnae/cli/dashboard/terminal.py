"""What the page of `learnae dashboard` shows, on a terminal: `learnae status --watch`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live

from learnae.cli.dashboard.figures import all_reasons, newest_refusals
from learnae.cli.dashboard.overview import KEY_DIGITS, Curve, HomeView, Overview
from learnae.cli.dashboard.watching import Watch, rest_after
from learnae.cli.options import ago, moment, of_bytes, of_count
from learnae.screen import Screen, Table, cell, line

if TYPE_CHECKING:
    from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 8
MOST_GIVERS = 6  # columns
MOST_ROWS = 24  # of peers
MOST_TOLD = 5  # reasons, and single updates


def watch(places: Sequence[str]) -> None:
    """Until Ctrl-C; where there is no terminal, once. Raises ConfigError where there is no home, KeyboardInterrupt."""
    watched, console = Watch.of(places), Screen()
    if not console.is_terminal:
        console.print(frame(watched.look()))
        return
    with Live(frame(watched.look()), console=console, auto_refresh=False, screen=True) as live:
        while True:
            before = time.monotonic()
            live.update(frame(watched.look()), refresh=True)
            time.sleep(rest_after(time.monotonic() - before))


def frame(overview: Overview) -> Group:
    """All that is shown at one moment."""
    return Group(*_parts(overview))


def _parts(overview: Overview) -> Iterator[Table | Text]:
    running = sum(view.running for view in overview.homes)
    swarms = ", ".join(overview.swarms) or "unknown"
    yield line(f"{len(overview.homes)} homes, {running} running; swarm {swarms}; as of {moment(overview.at, overview.at)}", "bold")
    yield _peers(overview)
    if any(given.merged for view in overview.homes for given in view.given):
        yield _merges(overview)
    if len(lineages := overview.lineages()) > 1:
        yield _table("lineage", "peers", *((lineage, ", ".join(names)) for (_, lineage), names in lineages.items()))
    if reasons := all_reasons(overview)[:MOST_TOLD]:
        yield _table("not merged", "stage", "reason", *((of_count(one.count), one.stage, one.reason) for one in reasons))
    for one in newest_refusals(overview)[:MOST_TOLD]:
        when = moment(one.at, overview.at) if one.at is not None else "-"
        yield line(f"{when}  {one.home}: update {one.number} of {overview.name_of(one.peer)}, {one.stage}: {one.reason}", "yellow")
    for view in overview.homes:
        if view.error:
            yield line(f"{view.name}: {view.error}", "red")


def _peers(overview: Overview) -> Table:
    metric = next(iter(overview.metrics), None)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("peer", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("round", "ago", "age", "merged", "refused", "failed", "in", "out"):
        table.add_column(name, justify="right", no_wrap=True)
    if metric:
        table.add_column(metric, no_wrap=True, overflow="ellipsis")
    for view in overview.homes[:MOST_ROWS]:
        table.add_row(cell(view.name, "cyan"), _state(view), *_figures(view, overview.at), *([_measured(view, metric)] if metric else []))
    return table


def _state(view: HomeView) -> Text:
    if view.error:
        return cell("broken", "red")
    if not view.running:
        return cell("ended", "yellow")
    return cell("runs", "green") if view.facts.get("node_pid") or "waiting" in view.facts else cell("node down", "red")


def _figures(view: HomeView, now: float) -> list[str]:
    last = view.facts.get("last_round")
    if not last:
        return ["-"] * 8
    facts = view.facts
    updates = (of_count(facts["updates"][name]) for name in ("merged", "refused", "failed"))
    sizes = (of_bytes(facts["bytes"][name]).replace(" ", "") for name in ("fetched", "published"))
    return [of_count(facts["rounds"]), ago(now - last["at"]), of_count(facts["age"] or 0), *updates, *sizes]


def _measured(view: HomeView, metric: str) -> str:
    curve = view.measured.get(metric)
    return f"{curve[-1][2]:.3g} {bars(curve)}" if curve else "-"


def bars(curve: Curve) -> str:
    """The whole curve in a few signs, from its lowest value to its highest."""
    values = [value for *_, value in curve if math.isfinite(value)]
    step = max(1.0, len(values) / MOST_BARS)
    chosen = [values[min(len(values) - 1, round(place * step))] for place in range(min(MOST_BARS, len(values)))]
    if not chosen:
        return ""
    lowest, highest = min(chosen), max(chosen)
    width = (highest - lowest) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int((value - lowest) / width * len(BARS)))] for value in chosen)


def _merges(overview: Overview) -> Table:
    """Who merged how many updates of whom. Those who gave most have a column."""
    totals: dict[str, int] = {}
    for view in overview.homes:
        for given in view.given:
            totals[given.peer] = totals.get(given.peer, 0) + given.merged
    givers = sorted(totals, key=lambda peer: -totals[peer])[:MOST_GIVERS]
    givers.sort(key=overview.name_of)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("merged of", no_wrap=True)
    for giver in givers:
        table.add_column(cell(overview.name_of(giver)[:KEY_DIGITS]), justify="right", no_wrap=True)
    for view in overview.homes[:MOST_ROWS]:
        merged = {given.peer: given.merged for given in view.given}
        if merged:
            table.add_row(cell(view.name, "cyan"), *("·" if giver == view.peer else of_count(merged.get(giver, 0)) for giver in givers))
    return table


def _table(*headings_and_rows: str | tuple[str, ...]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for one in headings_and_rows:
        if isinstance(one, str):
            table.add_column(one, overflow="fold")
        else:
            table.add_row(*one)
    return table
