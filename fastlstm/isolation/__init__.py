"""Reading files of strangers in a process of its own, with limits of CPU, memory and time."""
