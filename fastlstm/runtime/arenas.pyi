IDLE_BYTES: int

class Arenas:
    limit: int
    idle_bytes: int
    def __init__(self, limit: int = ...) -> None: ...
