"""The command ``completion``: what a shell needs to complete commands, options and names of files.

By shtab: its scripts are text that stands alone, so that a TAB starts no Python (argcomplete would start one each time, and load all of
fastlstm). It is kept well, without dependencies, and of 200 kB; MPL-2.0.
"""

from __future__ import annotations

import argparse

from ..errors import FastLSTMError
from . import terminal

SHELLS = ("bash", "zsh", "fish")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print the script of a shell."""
    try:
        import shtab
    except ImportError as error:
        raise FastLSTMError("completion needs shtab, which is not installed: pip install 'fastlstm[cli]'") from error
    script = shtab.complete(parser, shell=arguments.shell)
    with terminal.output() as stream:
        stream.write(script)
    return 0
