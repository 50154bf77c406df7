"""`learnae service`: a unit for systemd that keeps `learnae run FILE` running, with no more rights than it needs."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from learnae.cli import exit_codes, options
from learnae.config.folders import state_folder
from learnae.config.tables import PeerTable
from learnae.errors import ConfigError, Problem
from learnae.launch import installed_command
from learnae.logs import make_logger
from learnae.outlets import print_message, print_result
from learnae.plugins.manager import open_peer_file

if TYPE_CHECKING:
    from learnae.config.tables import Config

MEMORY = re.compile(r"\d+[KMGT]?|\d{1,2}%|100%|infinity")
STOP_SECONDS = 90  # for the last checkpoint and the goodbye

# All units. A node that the kernel ends for its memory is started again by its trainer, so the rest goes on.
RUNNING = (
    "Restart=on-failure",
    "RestartSec=10",
    f"RestartPreventExitStatus={exit_codes.FILE} {exit_codes.PLUGIN}",
    f"SuccessExitStatus={exit_codes.INTERRUPTED}",
    f"TimeoutStopSec={STOP_SECONDS}",
    "KillMode=mixed",
    "OOMPolicy=continue",
    "UMask=0077",
)
LIMITS = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
)
# What only the system's manager can always do: that of a user may lack namespaces. Devices stay, for GPUs.
SYSTEM_LIMITS = (
    "CapabilityBoundingSet=",
    "PrivateTmp=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictNamespaces=yes",
    "ProtectSystem=strict",
)


def unit(config: Config, file: Path, *, user: bool, memory: str | None) -> Iterator[str]:
    """The lines of the unit. Raises ConfigError for what no unit can hold."""
    role = "peer" if config.peer.role == PeerTable().role else config.peer.role
    yield "[Unit]"
    yield f"Description=Learnae: {role} of the swarm {_plain(config.swarm.name)}"
    if not user:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    yield ""
    yield "[Service]"
    yield f"ExecStart={' '.join(map(_argument, (*installed_command(), 'run', str(file))))}"
    yield f"WorkingDirectory={_path(config.folder)}"
    if not user:
        owner = _word(pwd.getpwuid(os.getuid()).pw_name)
        yield f"User={owner}"
        for made in _made(config):  # what is written to must be there
            yield f"ExecStartPre=+/usr/bin/install -d -m 700 -o {owner} {_argument(str(made))}"
    yield from _environment(config)
    yield from RUNNING
    if memory is not None:
        yield f"MemoryMax={memory}"
    yield from LIMITS
    if not user:
        yield from SYSTEM_LIMITS
        yield f"ReadWritePaths={' '.join(map(_word, map(str, _written(config))))}"
    yield ""
    yield "[Install]"
    yield f"WantedBy={'default' if user else 'multi-user'}.target"


def _environment(config: Config) -> Iterator[str]:
    yield "Environment=LEARNAE_LOG=info"
    if "XDG_STATE_HOME" in os.environ:
        yield f"Environment={_word(f'XDG_STATE_HOME={state_folder().parent}')}"
    if config.swarm.key_env is not None:
        yield f"# The key of the swarm: a line {config.swarm.key_env}=... in a file that only you can read."
        yield f"EnvironmentFile={_path(config.folder / 'learnae.env')}"


def _written(config: Config) -> list[Path]:
    """Where such a peer may write: its state, its project, and folders that the file names for storages and announcers."""
    named = [config.peer.home] if config.peer.home is not None else []
    paths = (getattr(choice.options, "path", None) for choice in (*config.storage, *config.announcer))
    named += [config.folder / path for path in paths if isinstance(path, str | Path)]
    return list(_outermost([state_folder(), config.folder, *named]))


def _made(config: Config) -> list[Path]:
    """Folders of this peer alone. A storage may be a mount that is late: nobody makes a folder in its place."""
    return [state_folder(), *([Path(config.peer.home)] if config.peer.home is not None else [])]


def _outermost(folders: Iterable[Path]) -> Iterator[Path]:
    absolute = sorted({Path(os.path.abspath(folder)) for folder in folders})
    for folder in absolute:
        if not any(folder.is_relative_to(other) for other in absolute if other != folder):
            yield folder


def _plain(text: str) -> str:
    return " ".join(text.replace("%", "%%").split())


def _path(path: Path) -> str:
    """A path by itself, where a unit knows no quotes."""
    return _unbroken(str(path)).replace("%", "%%")


def _word(text: str) -> str:
    """One word of a line, as systemd.syntax(7) has them: in quotes where it needs them."""
    escaped = _unbroken(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s'\"\\;]", text) or not text else escaped


def _argument(text: str) -> str:
    """One word of a command. There alone a dollar sign names a variable."""
    return _word(text.replace("$", "$$"))


def _unbroken(text: str) -> str:
    if not text.isprintable():
        raise ConfigError(Problem(repr(text), "has a character that no unit can hold", "give that file or folder another name"))
    return text


@click.command()
@options.peer_file
@click.option("--user", is_flag=True, help="A unit for `systemctl --user`: it needs no root, and has fewer limits.")
@click.option("--memory", metavar="SIZE", help="The most memory of trainer and node together, such as 8G.")
def service(file: Path, user: bool, memory: str | None) -> None:
    """Print a systemd unit that keeps `learnae run FILE` running.

    It is started again after a crash, and not where only you can mend the file. It may write to its project, its state folder and the
    folders that FILE names. Stopping it saves a checkpoint.
    """
    if memory is not None and not MEMORY.fullmatch(memory):
        raise ConfigError(Problem("--memory", f"cannot be {memory!r}", "write such as 8G, 500M or 50%"))
    path = Path(os.path.abspath(file))
    config, _ = open_peer_file(path, log=make_logger("error"))
    lines = list(unit(config, path, user=user, memory=memory))
    name = f"learnae-{re.sub('[^a-z0-9]+', '-', path.parent.name.lower()).strip('-') or 'peer'}.service"
    place, control = (f"~/.config/systemd/user/{name}", "systemctl --user") if user else (f"/etc/systemd/system/{name}", "sudo systemctl")
    print_result(*lines)
    print_message(f"write this to {place}, then type: {control} daemon-reload && {control} enable --now {name}")
    if user:
        print_message("so that it also runs while you are logged out: loginctl enable-linger")
