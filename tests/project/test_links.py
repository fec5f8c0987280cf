"""Pages lead where they say, everything is near the README, and no fact stands in two of them."""

from __future__ import annotations

import collections
import itertools
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from support.paths import ROOT

PAGES = sorted(page for folder in ("", "benchmarks/", "docs/", "examples/*/") for page in ROOT.glob(f"{folder}*.md"))
README = ROOT / "README.md"
MARKDOWN = MarkdownIt("commonmark").enable("table")


def links(text):
    """Return where links and pictures lead, as they are written."""
    words = itertools.chain.from_iterable(token.children or [] for token in MARKDOWN.parse(text))
    places = [word.attrGet({"link_open": "href", "image": "src"}.get(word.type, "")) for word in words]
    return [unquote(place) for place in places if place]


def under(kind, text):
    """Return the texts of what is of one kind, such as headings, line by line as they are read."""
    for opening, inline in itertools.pairwise(MARKDOWN.parse(text)):
        if opening.type == f"{kind}_open":
            words = [word for word in inline.children if word.type != "image"]
            yield "".join(" " if word.type == "softbreak" else word.content for word in words)


def anchors(text):
    """Return the anchors that GitHub gives to headings."""
    slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in under("heading", text)]
    return {f"{slug}-{before}" if (before := slugs[:at].count(slug)) else slug for at, slug in enumerate(slugs)}


def inside(page):
    """Return where in the repository a page leads: files with the anchors in them."""
    places = [link.partition("#") for link in links(page.read_text()) if not re.match("[a-z]+:", link)]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in places]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    for file, anchor in inside(page):
        assert file.is_relative_to(ROOT)
        assert file.exists(), file
        assert not anchor or anchor in anchors(file.read_text()), f"{file}#{anchor}"


def test_every_page_is_one_click_from_the_readme():
    assert {page for page in PAGES if page.parent.name == "docs"} <= {file for file, _ in inside(README)}


@pytest.mark.parametrize(
    "question", ["what-if-a-run-is-killed-under-meltano", "who-deletes-batch-files", "why-two-keys"]
)
def test_what_people_ask_is_one_click_from_the_readme(question):
    assert question in {anchor for _, anchor in inside(README)}


def test_no_fact_stands_in_two_pages():
    """As far as it is told in the same words, eight of them or more; tables and code apart."""
    told = collections.defaultdict(set)
    for page in PAGES:
        for paragraph in under("paragraph", page.read_text()):
            for sentence in re.split(r"(?<=[.:;!?])\s", paragraph.lower()):
                words = re.findall(r"\w+", sentence)
                # The changelog tells what pages tell, to those who had an older version.
                if len(words) >= 8 and page.name != "CHANGELOG.md":
                    told[" ".join(words)].add(page.relative_to(ROOT).as_posix())
    assert len(told) > 500
    assert {sentence: pages for sentence, pages in told.items() if len(pages) > 1} == {}


def test_on_the_package_index_the_readme_leads_to_the_same_places(tmp_path):
    pytest.importorskip("hatchling")
    arguments = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path]
    subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    repository = metadata["Project-URL"].removeprefix("Repository, ")
    description, readme = metadata.get_payload(), README.read_text()

    pages, files = (f"{repository}/{kind}/v{metadata['Version']}/" for kind in ("blob", "raw"))
    for there, here in zip(links(description), links(readme), strict=True):
        assert re.match("https:", there)
        assert there.removeprefix(files if here.endswith(".svg") else pages) == here
    # Nothing else differs, but the line that gets the repository.
    apart = re.compile(r"\]\([^)]*\)")
    old, new = (apart.sub("", text).strip().splitlines() for text in (readme, description))
    assert [line.split("   ")[0] for line, was in zip(new, old, strict=True) if line != was] == [
        f"git clone {repository} tap-braze-sms && cd tap-braze-sms"
    ]
