"""Builds the sdist and the wheel, checks them, and runs the tests against the wheel on every Python found.

The tests are those of the unpacked sdist, from which the code is taken away before: there is nothing to import but what
the wheel installed. So both are proven, the wheel by the tests, the sdist by having all that they need.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
UV = ROOT / ".venv" / "uv" / "bin" / "uv"
PACKAGE = "tap_braze_sms"

#: What of the repository means nothing outside of it.
LEFT_OUT = {".ci", ".github", ".pre-commit-config.yaml"}

#: What needs nothing but the wheel and the simulator, which the sdist brings along.
TESTS = [f"tests/integration/test_{name}.py" for name in ("cli", "sdk_contract", "target")]

#: pyenv keeps its Pythons off the path.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")


def main() -> None:
    """Build, check, try."""
    parser = argparse.ArgumentParser(prog="make dist", description=__doc__)
    parser.add_argument("--python", metavar="VERSION", help="only this one, which has to be there")
    parser.add_argument("--tag", help="check that it is this version's, and that CHANGELOG.md tells about the version")
    parser.add_argument("tests", nargs="*", default=TESTS, help="paths of tests (default: %(default)s)")
    options = parser.parse_args()
    sdist, wheel = build()
    with tarfile.open(sdist) as packed:
        check_sdist({name.partition("/")[2] for name in packed.getnames()}, tracked())
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(path).decode())
    check_wheel(names, metadata["Version"])
    if options.tag:
        check_tag(options.tag, metadata["Version"])
        check_repository(metadata["Project-URL"])
    supported = re.findall(r"Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier", [])), re.MULTILINE)
    for version in [options.python] if options.python else supported:
        python = find(version)
        if python:
            try_wheel(python, wheel, sdist, options.tests)
        elif options.python:
            sys.exit(f"there is no Python {version}")
        else:
            print(f"Python {version}: not found, not tried")


def build() -> tuple[Path, Path]:
    """Build the sdist from the checkout and the wheel from the sdist, without an index."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(UV, "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", DIST)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    return sdist, wheel


def tracked() -> set[str]:
    """Return the files that Git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    return {*filter(None, listed.stdout.split("\0"))}


def check_sdist(names: set[str], known: set[str]) -> None:
    """Check that it has what Git knows, and nothing that only lies about."""
    wanted = {"PKG-INFO", *(name for name in known if name.partition("/")[0] not in LEFT_OUT)}
    if names != wanted:
        sys.exit(f"the sdist lacks {sorted(wanted - names)} and has {sorted(names - wanted)} that Git does not know")


def check_wheel(names: set[str], version: str) -> None:
    """Check that it has the package, the schemas and the licence, and nothing else."""
    info = f"{PACKAGE}-{version}.dist-info"
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*.py")}
    wanted = {f"{PACKAGE}/py.typed", *modules}
    wanted |= {f"{PACKAGE}/schemas/{path.name}" for path in (ROOT / "schemas").glob("*.json")}
    wanted |= {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    if names != wanted:
        sys.exit(f"the wheel lacks {sorted(wanted - names)} and has {sorted(names - wanted)} that it should not")


def check_tag(tag: str, version: str) -> None:
    """Check that a tag, the version and the changelog are one release."""
    if tag != f"v{version}":
        sys.exit(f"the tag is {tag}, the version {version}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE):
        sys.exit(f"CHANGELOG.md has no section ## [{version}] with its date")


def check_repository(url: str) -> None:
    """Check that the package index is told where the repository is: every link of the description begins there."""
    if "OWNER" in url:
        sys.exit(f"pyproject.toml does not know yet where the repository is: {url}")


def find(version: str) -> str | None:
    """Find a Python of this version, without downloading one."""
    path = os.pathsep.join([os.environ["PATH"], *map(str, PYENV.glob("*/bin"))])
    arguments: list[str | Path] = [UV, "python", "find", "--no-python-downloads", "--system", version]
    found = subprocess.run(arguments, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def try_wheel(python: str, wheel: Path, sdist: Path, tests: list[str]) -> None:
    """Install the wheel where nothing else is, and run tests against it."""
    print(f"\n{python}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "environment")
        run(UV, "venv", "--quiet", "--python", python, environment)
        commands = environment / ("Scripts" if os.name == "nt" else "bin")
        install: list[str | Path] = [UV, "pip", "install", "--quiet", "--python", commands / "python"]
        install += ["--constraint", ROOT / "requirements" / "constraints.txt"]
        run(*install, wheel)
        # Before the tests bring along what the wheel might have forgotten to ask for.
        for name in ("tap-braze-sms", "target-braze-sms"):
            run(commands / name, "--version", cwd=folder)
        run(*install, "--group", f"{ROOT / 'pyproject.toml'}:test")
        with tarfile.open(sdist) as archive:
            # The filter is not in the first releases of 3.10 and 3.11; this archive is our own.
            archive.extractall(folder)  # noqa: S202
        tree = Path(folder, sdist.name.removesuffix(".tar.gz"))
        run(*install, tree / "simulator")
        shutil.rmtree(tree / PACKAGE)
        here = f"import sys, {PACKAGE} as tap; sys.exit(not tap.__file__.startswith(sys.prefix) and tap.__file__)"
        run(commands / "python", "-c", here, cwd=tree)
        run(commands / "pytest", "-q", "-n", "auto", *tests, cwd=tree)


def run(*arguments: str | Path, cwd: str | Path = ROOT) -> None:
    """Run a command; end with it where it fails."""
    done = subprocess.run(arguments, cwd=cwd, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
