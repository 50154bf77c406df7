"""A small device's announcer: what it costs, and that nodes hear it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from learnae import AnnouncementKind, ConfigError, Heard, PeerId, UnavailableError
from learnae.data.fitting import Expected
from learnae.data.reading_rows import check_sample
from learnae.data.readings import open_sample
from learnae.identity.envelopes import decode_envelope
from learnae.identity.keys import Admission
from learnae.lowlevel import SAMPLE_BYTES, Sample, SwarmIdentity, SwarmKey, reading_columns
from learnae.node.inbox import Inbox
from learnae.node.peers import Peers
from learnae.node.receive import Receiver
from learnae.testing.context import make_runtime
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.light import Sensor
from learnae_iota.options import IotaAnnouncerOptions
from tests.support.tangle import FakeNode

if TYPE_CHECKING:
    from learnae import Context
    from learnae_iota.devnet import Tangle

LIMIT = 60.0
MIB = 2**20
HEAVY = {"iota", "numpy", "requests", "structlog", "torch", "trio"}


def make_receiver(swarm: SwarmIdentity) -> Receiver:
    """All of a node that hears."""
    peers = Peers(64)
    inbox = Inbox(capacity=64, trusted=peers.trusts)
    return Receiver(
        own=PeerId("0" * 64),
        swarm=swarm.id,
        admission=Admission(),
        inbox=inbox,
        peers=peers,
        runtime=make_runtime(clock=trio.current_time),
        on_change=lambda peer, state: None,
        encryption=swarm.messages,
    )


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode().running() as node:
        yield node


@pytest.mark.parametrize("key", [None, SwarmKey.generate()], ids=["open", "private"])
async def test_samples_of_a_sensor_process_are_heard_verified_and_counted(
    key: SwarmKey | None, shared_tangle: Tangle, learnae_contexts: Callable[[str], Context], tmp_path: Path
) -> None:
    swarm = SwarmIdentity(f"weather {tmp_path}", key)
    receiver, (there, here) = make_receiver(swarm), shared_tangle.urls
    context = attrs.evolve(learnae_contexts("node"), secret=swarm.secret)
    readings = [b"reading %d" % number for number in range(1, 5)] + [bytes(SAMPLE_BYTES).replace(b"\0", b"x")]
    heard = list[Any]()

    def hear(message: Heard) -> None:
        receiver.hear(message)
        if entry := next(iter(receiver.inbox.known.values()), None):
            heard.append(entry.entries[AnnouncementKind.SAMPLE].announcement)

    with trio.fail_after(LIMIT):
        async with IotaAnnouncer(IotaAnnouncerOptions(nodes=(here,)), context) as announcer, trio.open_nursery() as nursery:
            nursery.start_soon(announcer.listen, [swarm.channel], hear)
            sensor = partial(run_sensor, swarm, there, tmp_path / "sensor", readings)
            assert await trio.to_thread.run_sync(sensor) == [1, 2, 3, 4, 5]
            while not heard or heard[-1].number < len(readings):  # noqa: ASYNC110  # what is heard is told by a callback
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    assert heard[-1].body == Sample(readings[-1])
    assert {announcement.body for announcement in heard} <= {Sample(reading) for reading in readings}
    assert not receiver.refusals.keys() - {"duplicate", "replay"}


def run_sensor(swarm: SwarmIdentity, url: str, home: Path, readings: list[bytes]) -> list[int]:
    key = {"SWARM_KEY": swarm.key.text()} if swarm.key else {}
    command = [sys.executable, "-m", "learnae_iota.light", "--swarm", swarm.name, "--node", url, "--home", str(home)]
    command += ["--key-env", "SWARM_KEY"] if key else []
    done = subprocess.run(command, env={**os.environ, **key}, input=b"\n".join(readings), capture_output=True, timeout=LIMIT, check=True)
    return [int(line) for line in done.stdout.split()]


def test_a_disk_that_takes_no_number_ends_the_command_with_one_line(node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "sensor" / "samples.new").mkdir(parents=True)
    command = [sys.executable, "-m", "learnae_iota.light", "--swarm", "w", "--node", node.url, "--home", str(tmp_path / "sensor")]
    done = subprocess.run(command, input="one\ntwo\n", capture_output=True, timeout=LIMIT, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    greeting, line = done.stderr.splitlines()
    assert greeting.startswith("this sensor is ")
    assert "cannot be written: Is a directory" in line
    assert not node.transactions


COLUMNS = {"temperature": "float32", "station": "text"}
READING = {"temperature": 21.5, "station": "roof"}


def sent_by(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages that it hands to a node from now on."""
    messages = list[bytes]()
    monkeypatch.setattr(sensor, "_send", messages.append)
    return messages


def test_a_reading_is_packed_as_those_want_it_that_gather(node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sensor("weather", [node.url], tmp_path / "sensor", columns=COLUMNS, licence="CC0-1.0") as sensor:
        messages = sent_by(sensor, monkeypatch)
        assert [sensor.send(READING), sensor.send({**READING, "temperature": -3})] == [1, 2]
        with pytest.raises(ValueError, match="station"):
            sensor.send({"temperature": 21.5})
        assert sensor.send(READING) == 3
    expected = Expected(schema=reading_columns({**COLUMNS}), licences=("CC0-1.0",))
    swarm = SwarmIdentity("weather")
    found = [decode_envelope(message, swarm.id, swarm.messages).announcement.body for message in messages]
    contents = [open_sample(body.payload) for body in found if isinstance(body, Sample)]
    for content in contents:
        check_sample(content, expected)
    assert [(one.first, one.count, one.words, one.licence) for one in contents] == [(n, 1, ("roof",), "CC0-1.0") for n in (1, 2, 3)]
    assert len({one.schema for one in contents}) == 1


def test_columns_without_a_licence_and_readings_without_columns_are_told(node: FakeNode, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="licence"):
        Sensor("weather", [node.url], tmp_path / "sensor", columns=COLUMNS)
    with pytest.raises(ConfigError, match="temperature"):
        Sensor("weather", [node.url], tmp_path / "sensor", columns={"temperature": "warm"}, licence="CC0-1.0")
    with Sensor("weather", [node.url], tmp_path / "sensor") as sensor, pytest.raises(ValueError, match="without columns"):
        sensor.send(READING)


def test_the_command_takes_json_objects_where_it_knows_the_columns(node: FakeNode, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "learnae_iota.light", "--swarm", "w", "--node", node.url, "--home", str(tmp_path / "sensor")]
    command += ["--column", "temperature=float32", "--column", "station=text", "--licence", "CC0-1.0"]
    lines = json.dumps(READING) + "\n21.5\nnoise\n" + json.dumps({"temperature": 1}) + "\n" + json.dumps(READING) + "\n"
    done = subprocess.run(command, input=lines, capture_output=True, timeout=LIMIT, text=True, check=False)
    assert done.stdout.split() == ["1", "2"]
    assert done.stderr.count("left out") == 3 and "noise" in done.stderr
    wrong = subprocess.run([*command, "--column", "warm"], input="", capture_output=True, timeout=LIMIT, text=True, check=False)
    assert wrong.returncode == 2 and "--column" in wrong.stderr


def test_it_is_light(node: FakeNode, tmp_path: Path) -> None:
    """In memory, a whole reading included; nothing heavy is imported."""
    script = f"""
import json, sys
from pathlib import Path
from learnae_iota.light import Sensor
with Sensor("weather", [{node.url!r}], {str(tmp_path / "sensor")!r}) as sensor:
    sensor.announce(b"21.5 C")
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(json.dumps([1024 * int(peak), sorted(sys.modules)]))
"""
    peak, modules = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=LIMIT, check=True).stdout)
    assert not HEAVY.intersection(modules)
    assert peak < 60 * MIB


def test_numbers_go_on_after_a_restart_and_a_number_is_never_used_twice(node: FakeNode, tmp_path: Path) -> None:
    with Sensor("weather", [node.url], tmp_path / "sensor") as sensor:
        first, peer = sensor.announce(b"one"), sensor.peer
        node.misbehave = lambda command: (500, b"")
        with pytest.raises(UnavailableError, match=node.url):
            sensor.announce(b"two")
        node.misbehave = lambda command: None
    with Sensor("weather", [node.url], tmp_path / "sensor") as sensor:
        assert sensor.peer == peer
        assert sensor.announce(b"three") == first + 2


def test_a_sensor_goes_to_the_next_node(node: FakeNode, tmp_path: Path) -> None:
    with Sensor("weather", ["http://127.0.0.1:1", node.url], tmp_path / "sensor") as sensor:
        assert sensor.announce(b"one") == 1
    assert len(node.transactions) == 1


def test_a_node_that_answers_by_drops_is_cut_off(node: FakeNode, tmp_path: Path) -> None:
    """Each of its drops comes in time, and it would send them for ever."""
    with FakeNode(dripping=True).running() as drip, Sensor("w", [drip.url, node.url], tmp_path / "sensor", seconds=1.0) as sensor:
        sensor.announce(b"one")
    assert len(node.transactions) == 1


def test_two_sensors_cannot_share_a_folder(node: FakeNode, tmp_path: Path) -> None:
    with Sensor("weather", [node.url], tmp_path / "sensor"), pytest.raises(ConfigError, match="another peer uses this home"):
        Sensor("weather", [node.url], tmp_path / "sensor")


def test_what_is_too_long_costs_no_number(node: FakeNode, tmp_path: Path) -> None:
    with Sensor("weather", [node.url], tmp_path / "sensor") as sensor:
        with pytest.raises(ValueError, match="payload"):
            sensor.announce(bytes(SAMPLE_BYTES + 1))
        assert sensor.announce(bytes(SAMPLE_BYTES)) == 1


@pytest.mark.parametrize("text", ["", "one", "-1", "9" * 30])
def test_a_damaged_number_is_told(text: str, node: FakeNode, tmp_path: Path) -> None:
    with Sensor("weather", [node.url], tmp_path / "sensor") as sensor:
        sensor.announce(b"one")
    (tmp_path / "sensor" / "samples").write_text(text)
    with pytest.raises(ConfigError, match="is no number"):
        Sensor("weather", [node.url], tmp_path / "sensor")


def test_a_wrong_key_or_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no key of a swarm"):
        Sensor("weather", ["http://127.0.0.1:1"], tmp_path / "sensor", key="secret")
    with pytest.raises(ConfigError, match="must be an address"):
        Sensor("weather", ["127.0.0.1"], tmp_path / "sensor")
