"""Writes significance.json: exact tests, standard errors, quantiles and bootstrap intervals.

Needs scipy 1.17.1 and numpy 2.4.6. Run: python make_significance.py
"""

import json
import pathlib
import warnings

import numpy as np
from scipy import stats


def mcnemar(only_a, only_b):
    """Exact McNemar: the binomial test of the discordant pairs."""
    n = only_a + only_b
    p = 1.0 if n == 0 else stats.binomtest(only_a, n, 0.5).pvalue
    return {"only_a": only_a, "only_b": only_b, "p": float(p)}


def sign_flip(a, b):
    """Paired permutation of the mean difference, all 2^n swaps."""
    result = stats.permutation_test(
        (np.array(a), np.array(b)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    return {"a": a, "b": b, "delta": float(np.mean(np.array(b) - np.array(a))), "p": float(result.pvalue)}


def interval(values):
    """Percentile bootstrap interval of the mean."""
    result = stats.bootstrap(
        (np.array(values),), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
    )
    return {
        "values": values,
        "mean": float(np.mean(values)),
        "stderr": float(stats.sem(values)),
        "low": float(result.confidence_interval.low),
        "high": float(result.confidence_interval.high),
    }


def main():
    rng = np.random.default_rng(20240606)
    discordant = [(0, 0), (1, 0), (0, 5), (3, 3), (10, 2), (7, 15), (41, 63), (120, 90), (400, 300), (2, 900)]
    pairs = [
        ([0.5, 0.25, 1.0], [0.75, 0.25, 0.5]),
        ([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.4, 0.5, 0.6]),
        ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        ([1, 0, 1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 1, 1, 1, 1]),
        (rng.random(12).round(3).tolist(), rng.random(12).round(3).tolist()),
        (rng.random(14).tolist(), (rng.random(14) + 0.25).tolist()),
    ]
    samples = [
        rng.random(20).round(4).tolist(),
        rng.integers(0, 2, 200).tolist(),
        rng.beta(0.5, 3.0, 60).round(4).tolist(),
    ]
    quantiles = []
    for values in ([3.0], [1.0, 2.0], rng.random(41).tolist(), rng.random(1000).round(2).tolist()):
        low, high = np.percentile(values, [2.5, 97.5])
        quantiles.append({"values": values, "low": float(low), "high": float(high)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        golden = {
            "mcnemar": [mcnemar(a, b) for a, b in discordant],
            "sign_flip": [sign_flip(list(map(float, a)), list(map(float, b))) for a, b in pairs],
            "bootstrap": [interval(list(map(float, values))) for values in samples],
            "quantiles": quantiles,
        }
    path = pathlib.Path(__file__).with_name("significance.json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
