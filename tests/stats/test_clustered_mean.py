"""A mean with whole clusters, against statsmodels, and where it cannot say."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from stats.clustered_mean import clustered_mean
from stats.special import student_t_quantile


@given(seed=st.integers(0, 10**6), clusters=st.integers(20, 60), offset=st.sampled_from([0.0, 1e6]))
def test_as_statsmodels_clusters_it(seed, clusters, offset):
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(1, 6, clusters))
    values = offset + rng.normal(size=clusters)[cluster] + rng.normal(size=len(cluster))
    found = clustered_mean(values, cluster)
    fitted = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    assert found.status == "ok"
    assert found.estimate == pytest.approx(float(fitted.params[0]), rel=1e-12)
    assert found.error == pytest.approx(float(fitted.bse[0]), rel=1e-6)
    half = student_t_quantile(0.975, clusters - 1) * found.error
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half))


def test_names_of_clusters_and_the_order_of_rows_do_not_matter():
    rng = np.random.default_rng(1)
    cluster, values = np.repeat(np.arange(30), 3), rng.normal(size=90)
    order = rng.permutation(90)
    again = clustered_mean(values[order], 10**15 - cluster[order] * 7)
    assert again.low == pytest.approx(clustered_mean(values, cluster).low)


def test_it_covers_what_it_says():
    """Correlated rows: 95% of the time, where rows alone would be right in about 60%."""
    rng, hits, naive, runs = np.random.default_rng(2), 0, 0, 1_000
    cluster = np.repeat(np.arange(30), 8)
    for _ in range(runs):
        values = rng.normal(size=30)[cluster] + 0.3 * rng.normal(size=240)
        for by, name in ((cluster, "whole"), (np.arange(240), "rows")):
            found = clustered_mean(values, by)
            covered = found.low <= 0.0 <= found.high
            hits += covered and name == "whole"
            naive += covered and name == "rows"
    assert hits / runs == pytest.approx(0.95, abs=0.02)
    assert naive / runs < 0.7


@pytest.mark.parametrize(
    ("values", "cluster", "status", "said"),
    [
        ([], [], "not_ready", "nothing to take a mean of"),
        ([1.0, 2.0], [5, 5], "not_ready", "a single cluster"),
        ([2.0, 2.0, 2.0], [1, 2, 3], "degenerate", "no variation"),
        ([1.0, 2.0, 4.0], [1, 2, 3], "not_ready", "3 clusters: below 20 the interval is rough"),
    ],
)
def test_where_it_cannot_say_or_only_roughly(values, cluster, status, said):
    found = clustered_mean(np.array(values), np.array(cluster, dtype=np.int64))
    assert found.status == status
    assert said in found.reason
    assert (found.low is None) == ("rough" not in said)
