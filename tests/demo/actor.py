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


def main(mood: str, acts: list[str], number: int) -> None:
    cues, ended = threading.Semaphore(0), threading.Event()

    def wait_for_the_end() -> None:
        while heard := os.read(0, 1024):
            cues.release(heard.count(b"\n"))
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    if mood == "mute":
        time.sleep(600)
    for act in acts:
        say(event="training", act=act, steps=0)
        counts = {"act": act, "heard": 3, "refused": 0, "bytes": 10, "fetched": 6, "rows": 56}
        step = 0
        while not ended.wait(0.01) and not cues.acquire(blocking=False):
            step += 1
            say(event="progress", steps=step, accuracy=0.9, trained=0.8, merged=step, **counts)
            if number == 3 and step == 3:
                act_up(mood)
        say(event="final", steps=step, accuracy=0.95, trained=0.9, merged=step, **counts)


if __name__ == "__main__":
    main(sys.argv[1], list(json.loads(sys.argv[2])["acts"]), int(sys.argv[4]))
