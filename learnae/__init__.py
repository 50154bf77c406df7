"""Learnae: unequal, unreliable machines train one PyTorch model together, with nobody in charge.

Four modules are public: `learnae` for all users and plugins, `learnae.testing` for the tests of plugins, `learnae.lowlevel` for plugins
that speak to a network or a daemon, and `learnae.integrations` for users of other trainers. All else is private and may change at any
time: `docs/reference/stability.md` says what is kept. Importing this module needs neither torch nor numpy.
"""

from typing import TYPE_CHECKING, Any

from learnae.blocking_services import BlockingAnnouncer, BlockingService, BlockingStorage
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
from learnae.observations import PeerConnection, RoundReport, UpdateVerdict
from learnae.records import (
    AnnouncementKind,
    Block,
    Budgets,
    Candidate,
    Cid,
    Decoded,
    Encoded,
    FirstLook,
    Heard,
    Judged,
    LocalModel,
    Merged,
    PeerId,
    Received,
    Selected,
    Standing,
    State,
    TensorSpec,
    Update,
    Verdict,
    View,
)
from learnae.strategies import (
    Announcer,
    Codec,
    Connected,
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
    from learnae.elementwise import Array
    from learnae.sensing.device import Sensor, sensor
    from learnae.trainer.join import join
    from learnae.trainer.loop import TrainingLoop, TrainingProgress
    from learnae.trainer.status import Status
    from learnae.trainer.swarm import Swarm

__all__ = [
    "AnnouncementKind",
    "Announcer",
    "Array",
    "Block",
    "BlockingAnnouncer",
    "BlockingService",
    "BlockingStorage",
    "Budgets",
    "Candidate",
    "Cid",
    "Codec",
    "CommandEntry",
    "ConfigError",
    "Connected",
    "Context",
    "Decoded",
    "DemoSetup",
    "ElementwiseMerge",
    "Encoded",
    "EntryError",
    "FirstLook",
    "Gate",
    "Heard",
    "Judged",
    "LearnaeDeprecationWarning",
    "LearnaeError",
    "LocalModel",
    "Merge",
    "Merged",
    "NeedsTorchError",
    "NoOptions",
    "Outer",
    "PeerConnection",
    "PeerId",
    "PluginError",
    "Problem",
    "Received",
    "RoundReport",
    "Selected",
    "Selector",
    "Sensor",
    "Service",
    "Standing",
    "State",
    "Status",
    "Storage",
    "Strategy",
    "Swarm",
    "TensorSpec",
    "TrainingLoop",
    "TrainingProgress",
    "UnavailableError",
    "Update",
    "UpdateRejectedError",
    "UpdateVerdict",
    "Verdict",
    "View",
    "hookimpl",
    "join",
    "sensor",
]

_FROM = {
    "Array": "learnae.elementwise",
    "Sensor": "learnae.sensing.device",
    "Status": "learnae.trainer.status",
    "Swarm": "learnae.trainer.swarm",
    "TrainingLoop": "learnae.trainer.loop",
    "TrainingProgress": "learnae.trainer.loop",
    "join": "learnae.trainer.join",
    "sensor": "learnae.sensing.device",
}
"""Where the names lie that need torch, numpy or much else."""
_RENAMED = {
    "Kind": "AnnouncementKind",
    "NeedsTorch": "NeedsTorchError",
    "Trainer": "TrainingLoop",
    "Unavailable": "UnavailableError",
    "UpdateRejected": "UpdateRejectedError",
}

if not TYPE_CHECKING:  # a type checker would take it as leave for any name, also a misspelt one

    def __getattr__(name: str) -> Any:
        if name not in _FROM:
            return renamed_attribute(__name__, name, _RENAMED, gone_in="0.2")
        import importlib

        try:
            found = globals()[name] = getattr(importlib.import_module(_FROM[name]), name)
        except ModuleNotFoundError as error:
            if error.name == "torch":
                raise NeedsTorchError(f"learnae.{name}") from error
            raise
        return found


def __dir__() -> list[str]:
    return __all__
