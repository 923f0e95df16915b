"""Puts config/ into the wheel, where an installed package finds methods and data sets."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfig(build_py):
    """Copies config/ to scwm/_config; an editable installation reads it where it stands."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            place = Path(self.build_lib, "scwm", "_config")
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree("config", place)


setup(cmdclass={"build_py": BuildWithConfig})
