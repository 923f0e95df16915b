"""``python -m scwm``: the command line without an installed script."""

from scwm.cli.main import main

raise SystemExit(main())
