"""A small device's announcer: signs readings and leaves them on the tangle. Needs neither torch nor numpy, trio or PyOTA."""

from learnae_iota.light.sensor import Sensor

__all__ = ["Sensor"]
