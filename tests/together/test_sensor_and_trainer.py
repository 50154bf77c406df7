"""A real sensor, started by `learnae run`, and a real trainer that gathers, over folders: readings end in the rows that are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import learnae
from learnae.data.pool import Pool
from tests.support.random_walk import RandomWalker, train_until
from tests.support.sensors import run_sensor

ROOM = 1_000_000


def test_readings_on_standard_input_become_rows_of_a_trainer(tmp_path: Path) -> None:
    meeting = f'[[announcer]]\nuse = "directory"\npath = "{tmp_path / "board"}"\n[swarm]\nname = "weather"\n'
    (tmp_path / "sensor.toml").write_text(
        meeting + '[peer]\nrole = "sensor"\nhome = "sensor"\n[data]\nlicence = "CC0-1.0"\n[sensor]\nlabel = "rain"\nmessage_seconds = 0.1\n'
        '[sensor.columns]\ntemperature = "float32"\nrain = "int64"\n'
    )
    (tmp_path / "trainer.toml").write_text(meeting + f"[data]\ngather = true\ngather_rows = 16\naccept_bytes = {ROOM}\n")
    home = tmp_path / "trainer"
    walker = RandomWalker(1, lambda model: learnae.join(model, config=tmp_path / "trainer.toml", home=home))
    with walker.swarm as swarm:
        rows = {"temperature": np.zeros(4, np.float32), "rain": np.zeros(4, np.int64)}
        dataset = swarm.dataset(rows, label="rain", labels=range(2), foreign=0.5)
        train_until(lambda: swarm.status.rounds >= 1, walker)
        lines = "temperature,rain\n" + "".join(f"{20 + number / 10},{number % 2}\n" for number in range(40))
        sent, _ = run_sensor(tmp_path, lines)
        assert sent == 40
        pool = Pool(home, ROOM)
        train_until(lambda: sum(one.rows for one in pool.entries()) == 32, walker)
        assert len({one.providers for one in pool.entries()}) == 1
        batches = iter(dataset.loader(4))
        assert max(float(batch["temperature"].max()) for batch, _ in zip(batches, range(1), strict=False)) >= 20.0
