"""A column of few different words, each held once."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Word = str | None
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """words: the different ones, or more; at: the place of each row's in them. `==` and `!=` with a word, and
    rows picked by a mask or by positions, as an array of objects has them.
    """

    words: tuple[Word, ...]
    at: NDArray[np.int64]
    __hash__ = None  # type: ignore[assignment] # of what is compared element by element

    @classmethod
    def of(cls, values: Sequence[Word]) -> "Words":
        """From the word of each row."""
        place = {word: number for number, word in enumerate(dict.fromkeys(values))}
        at = np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values))
        return cls(tuple(place), at)

    def __len__(self) -> int:
        return len(self.at)

    def __iter__(self) -> Iterator[Word]:
        return iter(self.tolist())

    def __getitem__(self, rows: NDArray[Any]) -> "Words":
        return Words(self.words, self.at[rows])

    def __eq__(self, word: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return self.each(lambda own: own == word, np.bool_)

    def __ne__(self, word: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return self.each(lambda own: own != word, np.bool_)

    def tolist(self) -> list[Word]:
        """The word of each row."""
        return [self.words[place] for place in self.at.tolist()]

    def each(self, value_of: Callable[[Word], Any], kind: type[Kind]) -> NDArray[Kind]:
        """What is said of each row's word; asked once of every one in `words`."""
        values: NDArray[Kind] = np.array([value_of(word) for word in self.words], dtype=kind)
        return values[self.at]

    def counts(self) -> Counter[Word]:
        """How many rows have each word."""
        counted: Counter[Word] = Counter()
        for word, rows in zip(self.words, np.bincount(self.at, minlength=len(self.words)), strict=True):
            if rows:
                counted[word] += int(rows)
        return counted
