"""The description on the package index: the README, whose links and pictures the index finds."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: In Markdown, where a link or a picture leads, if that is a place in this repository.
_RELATIVE = re.compile(r"(?<=\]\()(?![a-z]+:)([^)\s]*)(?=\))")

#: The README's command that gets the repository, where the README itself is read in it.
_CLONE = "git clone …"


class DescriptionHook(MetadataHookInterface):
    """Puts the README into the metadata that hatchling builds; `pyproject.toml` names this file."""

    def update(self, metadata: dict[str, t.Any]) -> None:
        """Set the description, with the address of the repository and the tag of the version."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = absolute(text, metadata["urls"]["Repository"], f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """Return Markdown that leads to the same places from anywhere: pages as GitHub shows them, pictures as files."""

    def place(found: re.Match[str]) -> str:
        path = f"README.md{found[1]}" if found[1].startswith("#") else found[1]
        return f"{repository}/{'raw' if path.endswith('.svg') else 'blob'}/{tag}/{path}"

    return _RELATIVE.sub(place, text).replace(_CLONE, f"git clone {repository}")
