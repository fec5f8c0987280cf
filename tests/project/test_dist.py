"""What is published: an sdist of what Git knows, a wheel of the package alone, and a tag that names both."""

from __future__ import annotations

import importlib.util

import pytest

from support.paths import ROOT

VERSION = "1.2.3"


@pytest.fixture
def dist():
    spec = importlib.util.spec_from_file_location("dist", ROOT / "tools" / "dist.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def names() -> set[str]:
    """What a good wheel holds."""
    package = [*(path.relative_to(ROOT).as_posix() for path in (ROOT / "tap_braze_sms").rglob("*.py"))]
    schemas = [*(f"tap_braze_sms/schemas/{path.name}" for path in (ROOT / "schemas").iterdir())]
    about = ["METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"]
    return {"tap_braze_sms/py.typed", *package, *schemas, *(f"tap_braze_sms-{VERSION}.dist-info/{n}" for n in about)}


def test_a_wheel_with_the_whole_package_passes(dist, names):
    dist.check_wheel(names, VERSION)


@pytest.mark.parametrize(
    "missing",
    [
        "tap_braze_sms/py.typed",
        "tap_braze_sms/tap.py",
        "tap_braze_sms/reading/ties.py",
        "tap_braze_sms/schemas/invalid_phone_numbers.json",
    ],
)
def test_a_wheel_that_lacks_a_file_is_refused(dist, names, missing):
    with pytest.raises(SystemExit, match=missing):
        dist.check_wheel(names - {missing}, VERSION)


@pytest.mark.parametrize("extra", ["tests/integration/test_cli.py", "schemas/invalid_phone_numbers.json"])
def test_a_wheel_with_anything_else_is_refused(dist, names, extra):
    with pytest.raises(SystemExit, match=extra):
        dist.check_wheel(names | {extra}, VERSION)


def test_an_sdist_holds_what_git_knows_but_for_ci(dist):
    known = {"README.md", "tests/data/a.singer", ".github/workflows/test.yml", ".ci/run", ".pre-commit-config.yaml"}
    dist.check_sdist({"README.md", "tests/data/a.singer", "PKG-INFO"}, known)
    with pytest.raises(SystemExit, match=r"lacks \['tests/data/a.singer'\]"):
        dist.check_sdist({"README.md", "PKG-INFO"}, known)
    with pytest.raises(SystemExit, match=r"has \['tests/data/numbers.csv'\] that Git does not know"):
        dist.check_sdist({"README.md", "tests/data/a.singer", "tests/data/numbers.csv", "PKG-INFO"}, known)


def test_a_release_knows_where_the_repository_is(dist):
    dist.check_repository("Repository, https://github.com/example/tap-braze-sms")
    with pytest.raises(SystemExit, match="does not know yet where the repository is"):
        dist.check_repository("Repository, https://github.com/OWNER/tap-braze-sms")


@pytest.mark.parametrize(
    "tag, heading, problem",
    [
        ("v1.2.3", "## [1.2.3] - 2026-12-01", None),
        ("v1.2.4", "## [1.2.3] - 2026-12-01", "the tag is v1.2.4, the version 1.2.3"),
        ("1.2.3", "## [1.2.3] - 2026-12-01", "the tag is 1.2.3, the version 1.2.3"),
        ("v1.2.3", "## [Unreleased]", "CHANGELOG.md has no section"),
        ("v1.2.3", "## [1.2.3]", "CHANGELOG.md has no section"),
        ("v1.2.3", "## [1.203] - 2026-12-01", "CHANGELOG.md has no section"),
    ],
)
def test_a_tag_has_to_name_the_version_and_the_changelog_to_tell_about_it(
    dist, tmp_path, monkeypatch, tag, heading, problem
):
    monkeypatch.setattr(dist, "ROOT", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n### Added\n")
    if problem is None:
        dist.check_tag(tag, VERSION)
    else:
        with pytest.raises(SystemExit, match=problem):
            dist.check_tag(tag, VERSION)
