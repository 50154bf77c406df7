"""`learnae status` for people, within 80 columns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from learnae.cli.homes.find import name_of
from learnae.cli.reasons import meaning
from learnae.cli.units import ago, of_bytes, of_count

Facts = dict[str, Any]


def show(found: Facts) -> None:
    """One peer with those it hears, or several homes."""
    console = Console(highlight=False)
    if "homes" in found:
        _show_homes(console, found["homes"])
        return
    console.print(Text(f"home  {name_of(Path(found['home']))}"), soft_wrap=True)  # in one piece, to be copied
    console.print(_grid(_about(found)))
    console.print(_peers(found) if found["peers"] else Text("No other peer was ever heard."))
    if left := found["peers_known"] - len(found["peers"]):
        console.print(f"and {left:,} more: --peers {found['peers_known']}")
    if found["refused_messages"]:
        console.print(_messages(found["refused_messages"]))


def _show_homes(console: Console, homes: list[Facts]) -> None:
    console.print(f"{len(homes)} homes; `learnae status HOME` shows one of them:")
    for home in homes:
        state = "running" if home["running"] else f"used {ago(time.time() - home['used_at'])} ago"
        about = home["error"] or f"swarm {home['swarm'] or 'unknown'}, round {home['rounds']:,}, {state}"
        console.print(Text(f"{name_of(Path(home['home']))}\n    {about}"), soft_wrap=True)


def _grid(rows: Iterator[tuple[str, str | Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def _about(found: Facts) -> Iterator[tuple[str, str | Text]]:
    yield "state", _state(found)
    yield "peer", found["peer"] or "no key yet"
    private = {True: ", private", False: ", open", None: ""}[found["private"]]
    yield "swarm", f"{found['swarm'] or 'not known before its next start'}{private}"
    yield "lineage", _lineage(found)
    if last := found["last_round"]:
        yield (
            "rounds",
            f"{found['rounds']:,}, the last one {ago(found['at'] - last['at'])} ago: {last['outcome']}, took {last['seconds']:.2f} s",
        )
        yield (
            "that round",
            f"heard {last['heard']}, chose {last['chosen']}, merged {last['merged']}, refused {last['refused']}, failed {last['failed']}"
            + (f", lost {last['lost']}" if last["lost"] else ""),
        )
    updates, sizes, disk = found["updates"], found["bytes"], found["disk"]
    yield "updates", f"{updates['merged']:,} merged, {updates['refused']:,} refused, {updates['failed']:,} could not be fetched"
    if updates["lost"]:
        yield "lost", Text(f"{updates['lost']:,} updates, since a plugin here failed: `learnae why` names it", style="red")
    yield "published", f"{of_bytes(sizes['published'])}, in the last hour {of_bytes(sizes['published_last_hour'])}"
    yield "fetched", f"{of_bytes(sizes['fetched'])}, in the last hour {of_bytes(sizes['fetched_last_hour'])}"
    yield "disk", _disk(disk)
    yield from _out_of_the_ordinary(found)


def _out_of_the_ordinary(found: Facts) -> Iterator[tuple[str, str | Text]]:
    if found["splits"]:
        yield "split", Text(f"others have grown in lineage {', '.join(found['splits'])}: `learnae rejoin` moves this peer", style="red")
    if order := found["rejoin"]:
        target = f"into lineage {order['lineage']}" if order["lineage"] else "into another lineage"
        yield "rejoin", f"ordered {ago(found['at'] - order['at'])} ago, {target}: {order['outcome'] or 'waits for its next round'}"


def _state(found: Facts) -> Text:
    if not found["running"]:
        return Text("not running", style="yellow")
    trainer = f"process {found['trainer_pid']}" if found["trainer_pid"] else "gone"
    if found["node_pid"] is None:
        return Text(f"trains ({trainer}), but its node is down", style="red")
    return Text(f"running: trainer {trainer}, node process {found['node_pid']}", style="green")


def _lineage(found: Facts) -> str:
    if found["lineage"] is None:
        return "none yet"
    return f"{found['lineage']}, age {found['age']:,}, {'young' if found['young'] else 'grown'}"


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
        table.add_row(Text(peer["peer"][:8], style="cyan"), heard, age, str(peer["failures"]), speed, _last(peer, found))
    return table


def _last(peer: Facts, found: Facts) -> Text:
    if peer["shut_out"]:
        return Text(peer["shut_out"], style="red")
    verdict, gone = peer["last_verdict"], "" if peer["live"] else "gone; "
    if verdict is not None and verdict["stage"] == "architecture":
        return Text(f"{gone}another architecture: {verdict['reason']}", style="yellow")
    if peer["lineage"] and peer["lineage"] != found["lineage"]:
        return Text(f"{gone}in lineage {peer['lineage']}", style="yellow")
    return _fate(verdict, gone) if verdict is not None else Text(f"{gone}never fetched", style="dim")


def _fate(verdict: Facts, gone: str) -> Text:
    where = f"{gone}round {verdict['round']:,}: "
    if verdict["merged"]:
        scaled = f", scaled to {verdict['scale']:.2g}" if verdict["scale"] != 1 else ""
        return Text(f"{where}merged{scaled}")
    return Text(f"{where}{verdict['stage']}: {verdict['reason']}", style="yellow")


def _messages(counts: dict[str, int]) -> Table:
    table = Table("messages", "reason", "what that means", box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.columns[0].justify = "right"
    for reason, count in counts.items():
        table.add_row(of_count(count), reason, Text(meaning(reason), style="dim"))
    return table
