"""A private tangle on this machine: Hornet nodes on loopback, peered with each other, the first of them issuing milestones."""

from learnae_iota.devnet.node import HornetProcess
from learnae_iota.devnet.ports import Ports, free_ports
from learnae_iota.devnet.program import find_hornet
from learnae_iota.devnet.tangle import Tangle

__all__ = ["HornetProcess", "Ports", "Tangle", "find_hornet", "free_ports"]
