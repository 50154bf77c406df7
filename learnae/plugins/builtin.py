"""What Learnae itself offers, registered like any other plugin. Names only: nothing is imported before it is used."""

from __future__ import annotations

from collections.abc import Mapping

from learnae.hookspecs import hookimpl


@hookimpl
def learnae_register_storage() -> Mapping[str, str]:
    return {
        "directory": "learnae.plugins.directory.storage:DirectoryStorage",
        "memory": "learnae.plugins.memory:MemoryStorage",
    }


@hookimpl
def learnae_register_announcer() -> Mapping[str, str]:
    return {
        "directory": "learnae.plugins.directory.announcer:DirectoryAnnouncer",
        "memory": "learnae.plugins.memory:MemoryAnnouncer",
    }


@hookimpl
def learnae_register_selector() -> Mapping[str, str]:
    return {
        "dissimilar": "learnae.plugins.preferences:Dissimilar",
        "least-recently-tried": "learnae.plugins.selector:LeastRecentlyTried",
        "nearby": "learnae.plugins.preferences:Nearby",
        "uniform": "learnae.plugins.selector:Uniform",
        "fixed": "learnae.plugins.selector:Fixed",
        "planner": "learnae.plugins.selector:Planner",
    }


@hookimpl
def learnae_register_gate() -> Mapping[str, str]:
    return {
        "balance": "learnae.plugins.balance:Balance",
        "balance-auto": "learnae.plugins.balance:BalanceAuto",
        "balance-own": "learnae.plugins.balance:BalanceOwn",
        "clip": "learnae.plugins.gate:Clip",
        "pace": "learnae.plugins.progress:OwnPace",
        "progress": "learnae.plugins.progress:Progress",
        "reputation": "learnae.plugins.reputation:Reputation",
        "sane": "learnae.plugins.gate:Sane",
    }


@hookimpl
def learnae_register_merge() -> Mapping[str, str]:
    return {
        "average": "learnae.plugins.merge:Average",
        "centered-clipping": "learnae.plugins.robust:CenteredClipping",
        "geometric-median": "learnae.plugins.robust:GeometricMedian",
        "krum": "learnae.plugins.robust:Krum",
        "median": "learnae.plugins.robust:Median",
        "multi-krum": "learnae.plugins.robust:MultiKrum",
        "trimmed-mean": "learnae.plugins.robust:TrimmedMean",
    }


@hookimpl
def learnae_register_outer() -> Mapping[str, str]:
    return {
        "diloco": "learnae.plugins.outer:QuasiGlobal",
        "noloco": "learnae.plugins.outer:NoLoco",
        "qgo": "learnae.plugins.outer:QuasiGlobal",
    }


@hookimpl
def learnae_register_codec() -> Mapping[str, str]:
    return {
        "bf16": "learnae.plugins.codec:Bf16",
        "fp32": "learnae.plugins.codec:Fp32",
        "int4-delta": "learnae.plugins.delta:Int4Delta",
        "int8": "learnae.plugins.codec:Int8",
        "patch": "learnae.plugins.patch:Patch",
        "random-subset": "learnae.plugins.delta:RandomSubset",
        "sparse": "learnae.plugins.sparse:Sparse",
    }
