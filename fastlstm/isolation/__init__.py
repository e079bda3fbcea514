"""Reading files of strangers in a process of its own, with limits of CPU, memory and time.

``parent`` asks such a process and believes nothing that it says, ``child`` runs in it, ``handover`` is what they say to each other.
"""

from .parent import Isolation, bounds_of, inventory, read, read_cases

__all__ = ["Isolation", "bounds_of", "inventory", "read", "read_cases"]
