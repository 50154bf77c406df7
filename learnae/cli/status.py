"""`learnae status`: the state of a peer, and which peers it hears."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learnae.cli import options
from learnae.cli.home_facts import facts
from learnae.cli.home_list import brief, show_homes
from learnae.cli.home_state import served
from learnae.cli.homes import command_for, name_of
from learnae.cli.options import ago, of_bytes, of_count, took
from learnae.cli.sensor_home import sensor_rows
from learnae.cli.why import meaning
from learnae.config.tables import SERVING
from learnae.outlets import print_json
from learnae.screen import Screen, Table, cell, line

if TYPE_CHECKING:
    from rich.text import Text


Facts = dict[str, Any]
MOST_REASONS = 40  # this program knows fewer
MOST_CONNECTIONS = 30
STALE_SECONDS = 15.0  # a node writes every three


def show(found: Facts) -> None:
    """Show one peer and the peers that it hears, or a list of homes."""
    console = Screen()
    if "homes" in found:
        show_homes(console, found["homes"])
        return
    rows = list(sensor_rows(found) if "waiting" in found else _about(found))
    console.print(line(f"{'home':{max(len(name) for name, _ in rows)}}  {name_of(Path(found['home']))}"), soft_wrap=True)  # to be copied
    console.print(_grid(rows))
    if "waiting" in found:
        return
    for advice in _to_type(found):
        console.print(line(advice, "red"), soft_wrap=True)  # to be copied
    _show_connections(console, found)
    console.print(_peers(found) if found["peers"] else "No other peer was ever heard.")
    if left := found["peers_known"] - len(found["peers"]):
        console.print(f"and {left:,} more: --peers {found['peers_known']}")
    if found["refused_messages"]:
        console.print(_messages(found["refused_messages"]))
    if (hidden := len(found["refused_messages"]) - MOST_REASONS) > 0:
        console.print(f"and {hidden:,} more reasons: --json")


def _show_connections(console: Screen, found: Facts) -> None:
    if found["addresses"]:
        console.print("Others reach this peer at:")
        for address in found["addresses"]:
            console.print(line(f"    {address}"), soft_wrap=True)  # to be copied
    if shown := found["connections"][:MOST_CONNECTIONS]:
        console.print(_connections(shown))
        if left := found["connections_known"] - len(shown):
            console.print(f"and {left:,} more connections: --json")


def _grid(rows: Iterable[tuple[str, str | Text]]) -> Table:
    grid = Table(box=None, padding=(0, 2), collapse_padding=True, show_header=False, show_edge=False, pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def _about(found: Facts) -> Iterator[tuple[str, str | Text]]:
    yield "state", _state(found)
    yield "peer", found["peer"] or "no key yet"
    yield "role", found["role"]
    private = {True: ", private", False: ", open", None: ""}[found["private"]]
    weights_only = ", weights only" if found["weights_only"] else ""
    yield "swarm", f"{found['swarm'] or 'not known before its next start'}{private}{weights_only}"
    yield from served(found) if found["role"] in SERVING else _trained(found)
    if (at := found["connections_at"]) is not None:
        aged = f", as of {ago(found['at'] - at)} ago" if found["at"] - at > STALE_SECONDS else ""
        yield "connected", f"to {found['connected']:,} of {found['connections_known']:,} peers{aged}"
    yield from _out_of_the_ordinary(found)


def _trained(found: Facts) -> Iterator[tuple[str, str | Text]]:
    yield "lineage", _lineage(found)
    if last := found["last_round"]:
        yield (
            "rounds",
            f"{found['rounds']:,}, the last one {ago(found['at'] - last['at'])} ago: {last['outcome']}, took {took(last['seconds'])} s",
        )
        yield (
            "that round",
            f"heard {last['heard']}, chose {last['chosen']}, merged {last['merged']}, refused {last['refused']}, failed {last['failed']}"
            + (f", lost {last['lost']}" if last["lost"] else ""),
        )
    updates, sizes, disk = found["updates"], found["bytes"], found["disk"]
    yield "updates", f"{updates['merged']:,} merged, {updates['refused']:,} refused, {updates['failed']:,} could not be fetched"
    if updates["lost"]:
        yield "lost", cell(f"{updates['lost']:,} updates, since a plugin here failed", "red")
    yield "published", f"{of_bytes(sizes['published'])}, in the last hour {of_bytes(sizes['published_last_hour'])}"
    yield "fetched", f"{of_bytes(sizes['fetched'])}, in the last hour {of_bytes(sizes['fetched_last_hour'])}"
    yield "disk", _disk(disk)
    if measured := found["evaluation"]:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in sorted(measured["metrics"].items()))
        yield "measured", cell(f"{numbers}; {ago(found['at'] - measured['at'])} ago, in round {measured['round']:,}")


def _out_of_the_ordinary(found: Facts) -> Iterator[tuple[str, str | Text]]:
    if found["splits"]:
        yield "split", cell(f"others are established in lineage {', '.join(found['splits'])}", "red")
    if order := found["rejoin"]:
        target = f"into lineage {order['lineage']}" if order["lineage"] else "into another lineage"
        yield "rejoin", f"ordered {ago(found['at'] - order['at'])} ago, {target}: {order['outcome'] or 'waits for its next round'}"


def _to_type(found: Facts) -> Iterator[str]:
    home = Path(found["home"])
    if found["updates"]["lost"]:
        yield f"{command_for(home, 'why')} names the plugin that failed."
    if found["splits"]:
        yield f"{command_for(home, 'rejoin')} moves this peer to the others."


def _state(found: Facts) -> Text:
    if not found["running"]:
        return cell("not running", "yellow")
    trainer = f"process {found['trainer_pid']}" if found["trainer_pid"] else "gone"
    if found["node_pid"] is None:
        return cell(f"trains ({trainer}), but its node is down", "red")
    return cell(f"running: trainer {trainer}, node process {found['node_pid']}", "green")


def _lineage(found: Facts) -> str:
    if found["lineage"] is None:
        return "none yet"
    return f"{found['lineage']}, age {found['age']:,}, {'provisional' if found['provisional'] else 'established'}"


def _disk(disk: Facts) -> str:
    own = f"{disk['own_updates']} own updates of {of_bytes(disk['own_updates_bytes'])} kept, of {of_bytes(disk['quota_bytes'])} allowed"
    return f"the home takes {of_bytes(disk['home_bytes'])}; {own}"


def _peers(found: Facts) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("peer", no_wrap=True)
    for name in ("heard", "age", "fails", "a second"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last", overflow="fold")
    for peer in found["peers"]:
        heard = ago(found["at"] - peer["heard_at"]) if peer["heard_at"] else "-"
        age = of_count(peer["age"]) if peer["age"] is not None else "-"
        speed = of_bytes(peer["bytes_per_second"]) if peer["bytes_per_second"] else "-"
        table.add_row(cell(peer["peer"][:8], "cyan"), heard, age, str(peer["failures"]), speed, _last(peer, found))
    return table


def _connections(shown: Iterable[Facts]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("peer", no_wrap=True)
    table.add_column("found by", max_width=10)
    for heading in ("answers", "in", "out"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("connection", overflow="fold")
    for one in shown:
        name = cell((one["peer"] or "?")[:8], "cyan")
        found_by = one["found_by"] or ("itself" if one["inbound"] else "-")
        if not one["connected"]:
            table.add_row(name, found_by, "-", "-", "-", _why_not(one))
            continue
        rtt = f"{one['rtt_seconds'] * 1000:.0f} ms" if one["rtt_seconds"] is not None else "-"
        relayed = f"relayed by {one['relay'][:8] if one['relay'] else 'another peer'}, " if one["relayed"] else ""
        interface = f"{one['interface'] or one['own_address']} " if one["interface"] or one["own_address"] else ""
        useless = f"{one['why']}; " if one["why"] else ""
        shown_at = cell(f"{useless}{relayed}{interface}{one['address']}", "yellow" if useless or relayed else "")
        table.add_row(name, found_by, rtt, of_bytes(one["bytes_in"]), of_bytes(one["bytes_out"]), shown_at)
    return table


def _why_not(one: Facts) -> Text:
    again = f"; tried again in {ago(one['next_try_seconds'])}" if one["next_try_seconds"] is not None else ""
    return cell(f"{one['why'] or 'not connected'}{again}", "yellow")


def _last(peer: Facts, found: Facts) -> Text:
    if peer["shut_out"]:
        return cell(peer["shut_out"], "red")
    verdict, left = peer["last_verdict"], "" if peer["live"] else "left; "
    if verdict is not None and verdict["stage"] == "architecture":
        return cell(f"{left}another architecture: {verdict['reason']}", "yellow")
    if peer["lineage"] and peer["lineage"] != found["lineage"]:
        return cell(f"{left}in lineage {peer['lineage']}", "yellow")
    return _fate(verdict, left) if verdict is not None else cell(f"{left}never fetched", "dim")


def _fate(verdict: Facts, left: str) -> Text:
    where = f"{left}round {verdict['round']:,}: "
    if verdict["merged"]:
        scaled = f", scaled to {verdict['scale']:.2g}" if verdict["scale"] != 1 else ""
        return cell(f"{where}merged{scaled}")
    return cell(f"{where}{verdict['stage']}: {verdict['reason']}", "yellow")


def _messages(counts: dict[str, int]) -> Table:
    table = Table("messages", "reason", "what that means", box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.columns[0].justify = "right"
    for reason, count in islice(counts.items(), MOST_REASONS):
        table.add_row(of_count(count), reason, cell(meaning(reason), "dim"))
    return table


@click.command()
@options.home
@click.option("--peers", "most", type=click.IntRange(min=0), help="How many peers to list, those heard last: 20, with --json 1,000.")
@options.as_json
@click.option("--watch", "watched", is_flag=True, help="All homes on one screen, drawn again every two seconds, until Ctrl-C.")
def status(home: str | None, most: int | None, as_json: bool, watched: bool) -> None:
    """Show the state of the peer in HOME, and which peers it hears. The peer may run or not.

    HOME is a peer's folder or its TOML file. Without HOME it is learnae.toml in this folder, or else the homes under the state folder.
    Several homes are shown in one line each, or with --watch together: who merged whom, what was measured, what was refused. The command
    only reads. It works while a node writes.
    """
    from learnae.cli.homes import find_homes

    if watched:
        if as_json or most is not None:
            raise click.UsageError("--watch draws a screen: --json and --peers do not go with it")
        from learnae.cli.dashboard.terminal import watch

        watch([home] if home is not None else [])
        return
    homes = find_homes(home)
    if len(homes) > 1:
        found = {"homes": [brief(one) for one in homes]}
    else:
        found = facts(homes[0], most=(1000 if as_json else 20) if most is None else most)
    if as_json:
        print_json(found, indent=2)
    else:
        show(found)
