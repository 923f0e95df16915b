"""``python -m scwm``: the command line without an installed script."""

from scwm.cli import main

raise SystemExit(main())
