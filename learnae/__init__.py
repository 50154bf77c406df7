"""Learnae: unequal, unreliable machines train one PyTorch model together, with nobody in charge.

Four modules are public: `learnae` for all users and plugins, `learnae.testing` for the tests of plugins, `learnae.lowlevel` for plugins
that speak to a network or a daemon, and `learnae.integrations` for other libraries. All else is private and may change at any time:
`docs/reference/stability.md` says what is kept. Importing this module needs neither torch nor numpy.
"""

from typing import TYPE_CHECKING, Any

from learnae.errors import (
    ConfigError,
    EntryError,
    LearnaeDeprecationWarning,
    LearnaeError,
    NeedsTorchError,
    PluginError,
    Problem,
    UnavailableError,
    UpdateRejectedError,
    renamed_attribute,
)
from learnae.hookspecs import CommandEntry, DemoSetup, hookimpl
from learnae.records import (
    Block,
    Candidate,
    Cid,
    Decoded,
    Encoded,
    Heard,
    Judged,
    Kind,
    LocalModel,
    Merged,
    PeerId,
    Received,
    RoundReport,
    Selected,
    State,
    TensorSpec,
    Update,
    UpdateVerdict,
    Verdict,
    View,
)
from learnae.strategies import (
    Announcer,
    BlockingAnnouncer,
    BlockingService,
    BlockingStorage,
    Codec,
    Context,
    ElementwiseMerge,
    Gate,
    Merge,
    NoOptions,
    Outer,
    Selector,
    Service,
    Storage,
    Strategy,
)

if TYPE_CHECKING:
    from learnae.trainer.join import join
    from learnae.trainer.loop import TrainingLoop
    from learnae.trainer.swarm import Swarm

__all__ = [
    "Announcer",
    "Block",
    "BlockingAnnouncer",
    "BlockingService",
    "BlockingStorage",
    "Candidate",
    "Cid",
    "Codec",
    "CommandEntry",
    "ConfigError",
    "Context",
    "Decoded",
    "DemoSetup",
    "ElementwiseMerge",
    "Encoded",
    "EntryError",
    "Gate",
    "Heard",
    "Judged",
    "Kind",
    "LearnaeDeprecationWarning",
    "LearnaeError",
    "LocalModel",
    "Merge",
    "Merged",
    "NeedsTorchError",
    "NoOptions",
    "Outer",
    "PeerId",
    "PluginError",
    "Problem",
    "Received",
    "RoundReport",
    "Selected",
    "Selector",
    "Service",
    "State",
    "Storage",
    "Strategy",
    "Swarm",
    "TensorSpec",
    "TrainingLoop",
    "UnavailableError",
    "Update",
    "UpdateRejectedError",
    "UpdateVerdict",
    "Verdict",
    "View",
    "hookimpl",
    "join",
]

_NEED_TORCH = {"join": "learnae.trainer.join", "Swarm": "learnae.trainer.swarm", "TrainingLoop": "learnae.trainer.loop"}
_RENAMED = {
    "NeedsTorch": "NeedsTorchError",
    "Trainer": "TrainingLoop",
    "Unavailable": "UnavailableError",
    "UpdateRejected": "UpdateRejectedError",
}


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        return renamed_attribute(__name__, name, _RENAMED, gone_in="0.2")
    import importlib

    try:
        return getattr(importlib.import_module(_NEED_TORCH[name]), name)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise NeedsTorchError(f"learnae.{name}") from error
        raise
