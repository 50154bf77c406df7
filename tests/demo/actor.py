"""Stands for a peer of the demo, without torch and without a swarm: `python actor.py MOOD PLAN FOLDER NUMBER`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time


def say(**line: object) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def act_up(mood: str) -> None:
    if mood == "crash":
        sys.exit("the actor has forgotten its lines")
    if mood.startswith("SIG"):  # as if the user had pressed Ctrl-C
        os.kill(os.getppid(), signal.Signals[mood])


def main(mood: str, number: int) -> None:
    ended = threading.Event()

    def wait_for_the_end() -> None:
        while os.read(0, 1024):
            pass
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    if mood == "mute":
        time.sleep(600)
    say(event="training", steps=0)
    counts = {"heard": 3, "refused": 0, "bytes": 10}
    step = 0
    while not ended.wait(0.01):
        step += 1
        say(event="progress", steps=step, accuracy=0.9, merged=step, **counts)
        if number == 3 and step == 3:
            act_up(mood)
    say(event="final", steps=step, accuracy=0.95, merged=step, **counts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[4]))
