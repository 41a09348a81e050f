"""How alike two models are on the same examples: what they answer, and where they err.

Each function gives a statistic (`bench.stats.of_means.OfMeans`) of arrays of shape (n,):
``first`` and ``second`` are predicted classes (or tokens), ``labels`` the right ones.
"""

from __future__ import annotations

import numpy as np

from bench.arrays import Array
from bench.stats.of_means import OfMeans, mean_of


def agreement(first: Array, second: Array) -> OfMeans:
    """Share of the examples for which both name the same class (top-1 agreement)."""
    return mean_of(np.asarray(first) == np.asarray(second))


def error_consistency(first_right: Array, second_right: Array) -> OfMeans:
    """Cohen's kappa of being right: whether two models err on the same examples beyond chance.

    Geirhos, Meding & Wichmann 2020, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs
    and humans by measuring error consistency" (arXiv 2006.16736), equation 1:
    (c_obs - c_exp) / (1 - c_exp), where c_obs is the share of examples that both get right or both
    wrong, and c_exp = p1 p2 + (1 - p1)(1 - p2) what two independent models of the same accuracies
    would show. 0 is chance, 1 the same examples. It does not exist where both are always right, or
    both always wrong.
    """
    first_right, second_right = np.asarray(first_right), np.asarray(second_right)
    features = np.stack([first_right == second_right, first_right, second_right], axis=1)

    def kappa(means: Array) -> Array:
        observed, first, second = means[..., 0], means[..., 1], means[..., 2]
        expected = first * second + (1 - first) * (1 - second)
        return np.asarray((observed - expected) / (1 - expected))

    return OfMeans(features, kappa)


def same_wrong_answers(labels: Array, first: Array, second: Array) -> OfMeans:
    """Of the examples that both get wrong, the share for which both name the same wrong class.

    It does not exist where no example is wrong for both. Two models that err alike by necessity
    (a shirt that looks like a coat) share some of them; compare with independently trained ones.
    """
    labels, first, second = np.asarray(labels), np.asarray(first), np.asarray(second)
    both = (first != labels) & (second != labels)
    features = np.stack([both & (first == second), both], axis=1)
    return OfMeans(features, lambda means: np.asarray(means[..., 0] / means[..., 1]))


def flips(first_right: Array, second_right: Array) -> OfMeans:
    """Share of the examples that one gets right and the other wrong, both ways together.

    Dutta et al. 2024, "Accuracy is not all you need" (arXiv 2407.09141), section 3: two models of
    one accuracy may be right on different examples.
    """
    return mean_of(np.asarray(first_right) != np.asarray(second_right))


def probability_change(first_log_p: Array, second_log_p: Array) -> OfMeans:
    """Root mean square of how far the probability of what came moved: llama.cpp's ``RMS Δp``
    (tools/perplexity/perplexity.cpp, ``kl_divergence``), as a share and not in percent."""
    first, second = (np.exp(np.asarray(each, np.float64)) for each in (first_log_p, second_log_p))
    square = mean_of((first - second) ** 2)
    return OfMeans(square.features, lambda means: np.sqrt(square.value(means)))


def log_perplexity_ratio(first_log_p: Array, second_log_p: Array) -> OfMeans:
    """ln of the first's perplexity over the second's, from the log-probabilities of what came.

    It is the mean of the differences token by token, so whatever the two have in common leaves the
    interval: Var(a) + Var(b) - 2 Cov(a, b), which llama.cpp adds up from its parts.
    """
    first, second = (np.asarray(each, np.float64) for each in (first_log_p, second_log_p))
    return mean_of(second - first)
