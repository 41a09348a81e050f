"""The hypergeometric distribution: draws without putting back."""

from __future__ import annotations

import math

from bench.stats.distributions.binomial_term import log_binomial_term

#: A term below this share of the sum ends it: each is smaller than the one before, and by more.
_NOTHING = 1e-18


def at_least(seen: int, drawn: int, marked: int, total: int) -> float:
    """The chance of ``seen`` or more marked ones among those ``drawn`` of ``total``.

    The p-value of Fisher's exact test, one-sided (Fisher 1935, Journal of the Royal Statistical
    Society 98:39).
    """
    least, most = max(0, drawn + marked - total), min(drawn, marked)
    if seen <= least:
        return 1.0
    if seen > most:
        return 0.0
    # Away from the mean terms only fall. The mirror of few marked ones is many that are not.
    if seen * total > drawn * marked:
        return _falling(seen, drawn, marked, total)
    return 1 - _falling(drawn - seen + 1, drawn, total - marked, total)


def _falling(seen: int, drawn: int, marked: int, total: int) -> float:
    """The chance of ``seen`` or more, which are more than are expected."""
    unmarked, share = total - marked, drawn / total
    # Loader 2000: three binomial terms of one chance, whichever it is.
    term = math.exp(
        log_binomial_term(seen, marked - seen, share, 1 - share)
        + log_binomial_term(drawn - seen, unmarked - drawn + seen, share, 1 - share)
        - log_binomial_term(drawn, total - drawn, share, 1 - share)
    )
    found, most = term, min(drawn, marked)
    for k in range(seen, most):
        term *= (marked - k) * (drawn - k) / ((k + 1) * (unmarked - drawn + k + 1))
        found += term
        if term < _NOTHING * found:
            break
    return found
