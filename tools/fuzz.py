"""Feed every decoder of a stranger's bytes with millions of inputs, guided by the coverage of our code.

    .venv/bin/python tools/fuzz.py                              all decoders, a million inputs each
    .venv/bin/python tools/fuzz.py meta update --inputs 50000   some of them
    .venv/bin/python tools/fuzz.py meta --hex a1666d            one input again, with its traceback

Needs atheris (`pip install atheris`; Linux), except for --hex. An input that crashes belongs into tests/hostile/test_found.py.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

MEMORY = Path("/dev/shm")  # packs and bulletins are files
ROOT = Path(__file__).resolve().parents[1]
DECODERS = (  # whose coverage counts
    "learnae.http",
    "learnae.config.saved_config",
    "learnae.content",
    "learnae.data",
    "learnae.identity",
    "learnae.link",
    "learnae.plugins",
)
ARTIFACT = "found-"
TIMEOUT_SECONDS = 20
RSS_MEGABYTES = 2048
STATUS = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)")
RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def main() -> int:
    options = _parser().parse_args()
    if options.hex is not None:
        return _replay(options.targets[0], bytes.fromhex(options.hex))
    if options.child:
        return _fuzz(options.targets[0], Path(options.child), options)
    names = options.targets or _names()
    return max(_run(name, options) for name in names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which decoders; all of them if none is named")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many for each decoder")
    parser.add_argument("--max-bytes", type=int, default=4096, help="the longest input")
    parser.add_argument("--seconds", type=int, default=0, help="the most time for each decoder; 0 sets no bound")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hex", help="feed this one input to the decoder")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def _names() -> list[str]:
    from tests.support.hostile.targets import all_targets

    with tempfile.TemporaryDirectory() as folder:
        return list(all_targets(Path(folder)))


def _replay(name: str, data: bytes) -> int:
    from tests.support.hostile.targets import all_targets

    with tempfile.TemporaryDirectory() as folder:
        accepted = all_targets(Path(folder))[name].feed(data)
    print(f"{name}: {len(data)} bytes {'accepted' if accepted else 'refused'}")
    return 0


def _run(name: str, options: argparse.Namespace) -> int:
    """One decoder in a process of its own, which libFuzzer ends as it likes."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.exists() else None) as folder:
        given = [f"--{key}={getattr(options, key.replace('-', '_'))}" for key in ("inputs", "max-bytes", "seconds", "seed")]
        began = time.monotonic()
        child = subprocess.run(
            [sys.executable, str(Path(__file__)), name, f"--child={folder}", *given], cwd=ROOT, capture_output=True, text=True, check=False
        )
        _tell(name, child.stderr, time.monotonic() - began)
        found = sorted(Path(folder).glob(f"{ARTIFACT}*"))
        for path in found:
            again = f"{sys.executable} tools/fuzz.py {name} --hex {path.read_bytes().hex()}"
            print(f"  {path.name}: {path.stat().st_size} bytes; again by\n  {again}")
        if child.returncode and not found:
            print(child.stdout + child.stderr)
        return 1 if child.returncode else 0


def _tell(name: str, output: str, seconds: float) -> None:
    status, runs = STATUS.findall(output), RUNS.findall(output)
    coverage, corpus = status[-1] if status else ("?", "?")
    count = int(runs[-1]) if runs else 0
    print(f"{name:10} {count:9,} inputs {count / seconds:8,.0f} /s   coverage {coverage:>5}   corpus {corpus:>5}", flush=True)


def _fuzz(name: str, folder: Path, options: argparse.Namespace) -> int:
    """Does not return: libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")
    from tests.support.hostile.byte_mutations import mutated
    from tests.support.hostile.targets import all_targets

    with atheris.instrument_imports(include=list(DECODERS)):
        (files := folder / "files").mkdir()
        target = all_targets(files)[name]
    (corpus := folder / "corpus").mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)

    def feed(data: bytes) -> None:
        target.feed(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        return mutated(data, target.forms, rng)[:most] if rng.random() < 0.5 else bytes(atheris.Mutate(data, most))

    flags = (
        f"-runs={options.inputs} -max_total_time={options.seconds} -max_len={options.max_bytes} -seed={options.seed} "
        f"-timeout={TIMEOUT_SECONDS} -rss_limit_mb={RSS_MEGABYTES} -print_final_stats=1 -artifact_prefix={folder}/{ARTIFACT}"
    )
    atheris.Setup([sys.argv[0], *flags.split(), str(corpus)], feed, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
