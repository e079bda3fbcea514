"""``python -m benchmarks``: see ``run.py``."""

import sys
from pathlib import Path

# This folder instead of the repository's root: fastlstm is then the installed one, not an unbuilt source tree.
sys.path[0] = str(Path(__file__).resolve().parent)

from run import main  # noqa: E402

sys.exit(main())
