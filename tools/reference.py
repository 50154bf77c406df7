"""Writes docs/reference/ from the code, so that it cannot say anything else. With --check: says what is out of date."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

import learnae
from learnae import hookspecs, lowlevel
from learnae.cli.main import COMMANDS
from learnae.cli.main import learnae as command_line
from learnae.config.describe import OptionKey, describe_tables
from learnae.config.options import KINDS
from learnae.config.presets import DEFAULT, PRESETS, Preset
from learnae.plugins.manager import PluginManager
from learnae.plugins.offers import StrategyOffer

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
GENERATED = "<!-- Written by `make reference`: change the code instead. -->"

CLASSES = (
    "Strategy", "Connected", "Service", "Storage", "Announcer", "BlockingService", "BlockingStorage", "BlockingAnnouncer", "Selector",
    "Gate", "Merge", "ElementwiseMerge", "Outer", "Codec",
)  # fmt: skip
HANDED_OVER = (
    "Context", "Block", "Heard", "FirstLook", "Standing",
    "View", "Candidate", "LocalModel", "Received", "Update", "Judged", "Verdict", "Merged", "TensorSpec",
    "Selected", "Encoded", "Decoded", "RoundReport", "UpdateVerdict", "PeerConnection", "Budgets", "CommandEntry", "DemoSetup",
)  # fmt: skip


def plugins() -> Iterator[str]:
    """The page for authors of plugins."""
    yield "# Plugins: hooks and base classes"
    yield GENERATED
    yield (
        "All names below come from `learnae`; [Your first plugin](../plugins.md) shows how they fit together. Hooks are called with "
        "keyword arguments, and an implementation may leave out those that it does not need."
    )
    yield "## Hooks"
    yield from (_hook(hook) for name, hook in vars(hookspecs).items() if name.startswith("learnae_"))
    yield "## Base classes"
    for name in CLASSES:
        yield from _class(getattr(learnae, name))
    yield "## What they take and return"
    for name in HANDED_OVER:
        yield f"### {name}\n\n```python\n{inspect.getsource(getattr(learnae, name)).rstrip()}\n```"


def _hook(hook: Callable[..., Any]) -> str:
    return f"### {hook.__name__}\n\n```python\n{_signature(hook)}\n```\n\n{inspect.getdoc(hook)}"


def _class(cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base.__name__ not in ("object", "ABC"))
    yield f"### {cls.__name__}"
    yield f"{inspect.getdoc(cls)}" + (f" Base: {bases}." if bases else "")
    attributes = [line for line in _body(cls) if isinstance(line, ast.AnnAssign)]
    if attributes:
        yield "```python\n" + "\n".join(map(_in_double_quotes, attributes)) + "\n```"
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and not name.startswith("__") and member.__doc__:
            yield f"```python\n{_signature(member)}\n```"
            yield inspect.getdoc(member) or ""


def _signature(function: Callable[..., Any]) -> str:
    """The `def` line of a function, as written."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    tree.body, tree.decorator_list = [ast.Expr(ast.Constant(...))], []
    return _in_double_quotes(tree).removesuffix("\n    ...").removesuffix(":")


def _in_double_quotes(tree: ast.AST) -> str:
    """The code as `ruff format` wants its strings, unless one has a double quote in it."""
    code = ast.unparse(tree)
    return code if '"' in code else code.replace("'", '"')


def _body(cls: type) -> list[ast.stmt]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    return tree.body


def configuration() -> Iterator[str]:
    """The page for authors of a peer's file."""
    yield "# Configuration: every key of a peer's file"
    yield GENERATED
    yield (
        "A peer's file is TOML. All tables may be left out. A key that is not listed here is an error, and all errors of a file are "
        "reported at once: `learnae check learnae.toml`."
    )
    yield "## preset"
    yield (
        f'`preset = "{DEFAULT}"` stands above all tables, and chooses gates, merge and outer optimiser. A table of the file wins: '
        '`[[gate]]` replaces all gates, and `[outer] use = "none"` leaves the outer optimiser out. Without the key it is '
        f'"{DEFAULT}". [How to merge](../how-to/merging.md) says when to use which.'
    )
    yield "\n".join(
        ["| preset | gates | merge | outer | when |", "| --- | --- | --- | --- | --- |", *itertools.starmap(_preset, PRESETS.items())]
    )
    manager = PluginManager.discover(only=())
    for table, keys in itertools.groupby(describe_tables(), key=lambda key: key.table):
        yield f"## {_heading(table)}"
        if table in KINDS:
            yield _about_kind(table)
        yield _table(keys)
        if table in KINDS:
            yield from itertools.chain.from_iterable(map(_strategy, manager.offers(table).values()))


def _preset(name: str, preset: Preset) -> str:
    return f"| `{name}` | {', '.join(f'`{gate}`' for gate in preset.gates)} | `{preset.merge}` | `{preset.outer}` | {preset.doc} |"


def _strategy(offer: StrategyOffer) -> Iterator[str]:
    """One strategy of ours, with its own keys."""
    yield f"### {offer.kind}: {offer.name}"
    yield offer.doc
    if keys := offer.options():
        yield _table(keys)


def _heading(table: str) -> str:
    return f"[[{table}]]" if table in KINDS and KINDS[table].many else f"[{table}]"


def _about_kind(table: str) -> str:
    default = ", ".join(f"`{name}`" for name in KINDS[table].default) or "none"
    several = " May stand several times." if KINDS[table].many else ""
    return f"The keys of the chosen strategy stand beside these. Default: {default}.{several}"


def _table(keys: Iterable[OptionKey]) -> str:
    return "\n".join(["| key | type | default | meaning |", "| --- | --- | --- | --- |", *map(_row, keys)])


def _row(key: OptionKey) -> str:
    must = f" Must be {' and '.join(key.bounds)}." if key.bounds else ""
    cells = (f"`{key.key}`", key.type, _default(key), key.doc + must)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(key: OptionKey) -> str:
    return key.default if key.default in ("", "required", "computed") else f"`{key.default}`"


def commands() -> Iterator[str]:
    """The page for whoever types."""
    yield "# The command `learnae`"
    yield GENERATED
    yield inspect.cleandoc(command_line.help or "")
    yield from _commands("learnae", command_line)


def _commands(name: str, group: click.Group) -> Iterator[str]:
    context = click.Context(group)
    for word in sorted(COMMANDS if group is command_line else group.list_commands(context)):  # ours, whatever plugins are installed
        command = group.get_command(context, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(f"{name} {word}", command)
            continue
        options = [param for param in command.params if isinstance(param, click.Option)]
        pieces = command.collect_usage_pieces(click.Context(command))
        yield f"## {name} {word}"
        yield "    " + " ".join([name, word, *pieces[0 if options else 1 :]])
        yield inspect.cleandoc(command.help or "")
        if options:
            rows = (f"| `{', '.join(option.opts)}{' ' + option.metavar if option.metavar else ''}` | {option.help} |" for option in options)
            yield "\n".join(["| option | meaning |", "| --- | --- |", *rows])


TESTING = {
    "learnae.testing.announcer_kit": ("AnnouncerConformance", "OpenAnnouncer"),
    "learnae.testing.announcer_talk": ("Listener",),
    "learnae.testing.codec_kit": ("CodecConformance",),
    "learnae.testing.gate_kit": ("GateConformance",),
    "learnae.testing.merge_kit": ("MergeConformance",),
    "learnae.testing.outer_kit": ("OuterConformance",),
    "learnae.testing.selector_kit": ("SelectorConformance", "candidate", "view", "views"),
    "learnae.testing.storage_kit": ("StorageConformance", "OpenStorage"),
    "learnae.testing.attackers": (
        "ATTACKS",
        "Attack",
        "Dissensus",
        "FarPoint",
        "FlippedLabels",
        "FlippedMean",
        "FlippedOwn",
        "Gaussian",
        "InBall",
        "InnerProduct",
        "Knowledge",
        "Known",
        "LittleIsEnough",
        "NotFinite",
        "ReversedUpdate",
        "Scaled",
        "Stale",
        "attacker",
        "flip_labels",
    ),
    "learnae.testing.context": ("make_context", "peer_named"),
    "learnae.testing.models": ("constant_model", "local_model", "parameters", "random_model", "read_only", "received"),
    "learnae.testing.published": ("MadeUpUpdate", "fetched", "missing_in", "payloads", "published", "same"),
}
"""What is public of the modules for tests; the rest of them is for Learnae's own."""

INTEGRATIONS = {
    "learnae.integrations.lightning": ("LearnaeCallback",),
    "learnae.integrations.transformers": ("LearnaeCallback",),
}

CONSTANTS = {  # and types that are a name for others: no docstring goes with them
    "Array": "The type of a tensor of float32, of any shape, as numpy has it: `NDArray[np.float32]`.",
    "BLOCK_BYTES": "The most bytes of one block: 524,288, which is what every implementation of bitswap moves.",
    "DURATION": "The validator of a key that is a time in seconds: more than 0, and at most a year.",
    "HINT_CHARACTERS": "The most characters of one text in `Storage.hints`: 200.",
    "HTTP_FAILURES": "The exceptions of a call of `HttpClient`, for `except`: OSError and `BadResponseError`.",
    "MEGABYTE": "1,048,576 bytes.",
    "MAX_SEQUENCE_NUMBER": "The largest number of an announcement: 2 ** 62.",
    "OpenAnnouncer": "The type of the fixture `announcer`: a function from a peer's name to a new, closed announcer.",
    "OpenStorage": "The type of the fixture `storage`: a function from a peer's name to a new, closed storage.",
    "SAMPLE_BYTES": "The most bytes of the payload of one `Sample`: 850.",
    "Cid": "A CIDv1 (sha2-256) as its base32 text: a `str` to Python.",
    "PeerId": "An Ed25519 public key as 64 hexadecimal digits: a `str` to Python.",
    "State": "What a strategy remembers between rounds: a mapping from names to arrays, numbers and text.",
    "hookimpl": "Marks a function of a plugin as one of the hooks.",
}


def public_names() -> dict[str, tuple[str, ...]]:
    """All that others may import, by module."""
    return {"learnae": tuple(sorted(learnae.__all__)), "learnae.lowlevel": tuple(sorted(lowlevel.__all__)), **INTEGRATIONS, **TESTING}


def names() -> Iterator[str]:
    """The list of all public names: one that goes or comes is seen in a diff."""
    yield "# All public names"
    yield GENERATED
    yield (
        "What is not in this list is private, and may change in any version; [what stays as it is](stability.md) says more. pytest finds "
        "the fixtures `learnae_context` and `learnae_contexts` by itself wherever Learnae is installed."
    )
    for module, found in public_names().items():
        yield f"## `{module}`"
        yield "\n".join(["| name | what it is |", "| --- | --- |", *(f"| `{name}` | {summary(module, name)} |" for name in found)])


def summary(module: str, name: str) -> str:
    """The first paragraph of what it says of itself."""
    doc = CONSTANTS.get(name) or (_written(module, name) if module in INTEGRATIONS else _imported(module, name))
    return " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")


def _imported(module: str, name: str) -> str:
    return inspect.getdoc(getattr(importlib.import_module(module), name)) or ""


def _written(module: str, name: str) -> str:
    """In the source: the libraries that these modules need take half a minute to import."""
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name)
    return ast.get_docstring(next(classes)) or ""


PAGES = {"commands.md": commands, "configuration.md": configuration, "plugins.md": plugins, "public-names.md": names}


def main(check: bool) -> int:
    """Write all pages, or print how they differ. Returns the exit status."""
    stale = 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, "\n\n".join(page()) + "\n"
        before = path.read_text() if path.exists() else ""
        stale += before != text
        if check:
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), text.splitlines(True), f"{path} now", "as it should be"))
        else:
            path.write_text(text)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
