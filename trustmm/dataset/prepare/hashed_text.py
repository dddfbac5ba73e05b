"""An encoder of texts that needs no model: hashed TF-IDF, reduced by a singular value decomposition."""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
WITHOUT_SPACES = "\u0e00"
"""From Thai upwards lie the scripts that put no spaces between words; they are cut into pairs of characters."""
TIE_BREAK = 1e-3
NEGLIGIBLE = 1e-6
"""Of the strongest component; weaker ones are rounding errors."""


class HashedTextEncoder:
    """Latent semantic analysis: words are hashed to columns and weighted by TF-IDF; the leading components are kept.

    Term weights are 1 + log tf and log((1 + n) / (1 + df)) + 1, rows have norm 1 before the decomposition (Manning et
    al., Introduction to Information Retrieval, Sec. 6.4 and 18.4). A component's largest loading is positive, so that
    signs are the same wherever it is computed.

    Args:
        width: components, as many as the texts allow.
        columns: of the hashed matrix.
    """

    whole = True

    def __init__(self, width: int = 128, columns: int = 2**18) -> None:
        self._width, self._columns = width, columns

    def identity(self) -> Mapping[str, Any]:
        """Library, version, method and sizes."""
        facts = {"library": "trustmm", "model": "tfidf", "width": self._width, "columns": self._columns}
        return facts | {"scipy": scipy.__version__, "numpy": np.__version__}

    def encode(self, batch: Sequence[str]) -> NDArray[np.float32]:
        """Rows (B, D) of all texts of a data set, D at most the width; zeros for a text without words."""
        weights = self._weighted(batch)
        if not weights.nnz:
            return np.zeros((len(batch), 1), dtype=np.float32)
        width = min(self._width, min(weights.shape) - 1)
        if width < 1:
            return np.asarray(weights.sum(axis=1), dtype=np.float32).reshape(len(batch), 1)
        start = np.random.default_rng(0).random(min(weights.shape))
        left, values, right = scipy.sparse.linalg.svds(weights, k=width, v0=start, random_state=0)
        signs = np.sign(right[np.arange(width), np.abs(right).argmax(axis=1)])
        order = [place for place in np.argsort(-values, kind="stable") if values[place] > NEGLIGIBLE * values.max()]
        return np.ascontiguousarray((left * values * signs)[:, order], dtype=np.float32)

    def _weighted(self, texts: Sequence[str]) -> scipy.sparse.csr_matrix:
        """TF-IDF (B, C) over the C hashed columns in use."""
        counts = [Counter(zlib.crc32(word.encode()) % self._columns for word in words(text)) for text in texts]
        used = {column: place for place, column in enumerate(sorted(set().union(*counts)))}
        starts = np.cumsum([0, *map(len, counts)])
        places = np.array([used[column] for count in counts for column in sorted(count)], dtype=np.int64)
        terms = np.array([count[column] for count in counts for column in sorted(count)], dtype=np.float64)
        frequency = np.bincount(places, minlength=max(1, len(used)))
        importance = np.log((1 + len(texts)) / (1 + frequency)) + 1
        # Components of equal strength could be turned into each other, as rounding likes: no two columns are alike.
        importance[: len(used)] *= 1 + TIE_BREAK * np.random.default_rng(0).random(self._columns)[list(used)]
        terms = (1 + np.log(terms)) * importance[places]
        weights = scipy.sparse.csr_matrix((terms, places, starts), shape=(len(texts), max(1, len(used))))
        norms = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
        return scipy.sparse.diags(1 / np.where(norms > 0, norms, 1)) @ weights


def words(text: str) -> Iterator[str]:
    """Words in lower case, in one form of compatibility characters; pairs of characters in scripts without spaces."""
    for word in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(word) > 2 and max(word) >= WITHOUT_SPACES:
            yield from (word[place : place + 2] for place in range(len(word) - 1))
        else:
            yield word
