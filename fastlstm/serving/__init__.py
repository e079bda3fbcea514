"""Models over HTTP and WebSocket: an ASGI application, and what ``fastlstm serve`` runs. Needs ``pip install 'fastlstm[serve]'``."""

from typing import TYPE_CHECKING

from ..lazy import names

if TYPE_CHECKING:
    from .application import app
    from .lifetime import lifespan
    from .options import Options

__getattr__, __dir__ = names(__name__, {"application": ("app",), "lifetime": ("lifespan",), "options": ("Options",)})

__all__ = ["Options", "app", "lifespan"]
