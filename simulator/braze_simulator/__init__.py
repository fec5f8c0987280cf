"""A stand-in for Braze on localhost: the invalid-phone-number list, its moves and its faults.

Standard library only, and nothing from the tap: client and stand-in must not share a mistake. `braze-simulator --help`
starts one from a shell, `with Simulator(seeded(1000)) as braze:` from a program.
"""

from braze_simulator.behaviour import Behaviour
from braze_simulator.control import CONTROL_PATH
from braze_simulator.endpoints import LIST_PATH, MAX_PAGE, REMOVE_PATH
from braze_simulator.entries import Entry, digits
from braze_simulator.messages import Message, Reply, success
from braze_simulator.seeds import generated, number, odd, repeated, seeded, spell, unusable, without_phone
from braze_simulator.server import Simulator
from braze_simulator.strange import strange

__all__ = [
    "CONTROL_PATH",
    "LIST_PATH",
    "MAX_PAGE",
    "REMOVE_PATH",
    "Behaviour",
    "Entry",
    "Message",
    "Reply",
    "Simulator",
    "digits",
    "generated",
    "number",
    "odd",
    "repeated",
    "seeded",
    "spell",
    "strange",
    "success",
    "unusable",
    "without_phone",
]
