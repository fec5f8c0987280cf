"""Removals: numbers that Braze is asked to take off its list, however it spells and compares them."""

from __future__ import annotations

import typing as t

from tap_braze_sms.braze.client import LARGEST_REMOVAL
from tap_braze_sms.braze.spellings import WAYS, Spellings, spell

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_braze_sms.braze.client import BrazeClient


class NumberRemoval:
    """Asks to take numbers off the list.

    Braze does not tell whether one was on it, so how it compares is not seen here: both spellings are sent, unless
    someone knows which is enough.

    Args:
        client: Makes the requests.
        spelling: A name in `spellings.WAYS`.
    """

    def __init__(self, client: BrazeClient, spelling: str) -> None:
        self._client = client
        self._spellings = Spellings(WAYS[spelling])
        #: Most numbers of one request.
        self.most = LARGEST_REMOVAL // len(WAYS[spelling])

    def remove(self, numbers: Sequence[str], *, what: str) -> None:
        """Ask for one batch.

        Args:
            numbers: By their digits.
            what: Names the batch in messages.

        Raises:
            RequestRefusedError: Braze refuses all spellings of it, or every try failed.
        """
        self._spellings.send(lambda way: self._client.remove(spell(numbers, way), what=what))
