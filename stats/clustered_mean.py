"""The mean of one column whose rows come in clusters, with Student's t on the clusters. One look.

Of the differences between two policies on the same markets it is the paired comparison: what they share falls
out.
"""

import math

import numpy as np
import numpy.typing as npt

from stats.clusters import Clusters
from stats.comparison import Comparison, by_student, check_alpha, doubted, not_ready
from stats.moments import group_sums

Floats = npt.NDArray[np.float64]
FEW_CLUSTERS = 20


def clustered_mean(values: Floats, cluster: npt.NDArray[np.int64], alpha: float = 0.05) -> Comparison:
    """sum of values / number of rows, its error from whole clusters: K/(K-1) sum (S - mean N)^2 / rows^2
    (Deng, Knoblich, Lu, KDD 2018), on K - 1 degrees of freedom.

    Without rows, or in one cluster, there is no interval; below 20 clusters it is doubted.
    """
    check_alpha(alpha)
    if len(values) == 0:
        return not_ready("there is nothing to take a mean of")
    names, at = np.unique(cluster, return_inverse=True)
    count = len(names)
    clusters = Clusters(group_sums(at, np.ones(len(values)), count), group_sums(at, values, count))
    mean = clusters.moments.ratio
    if count < 2:
        return not_ready("a single cluster has no spread", mean)
    found = by_student(mean, math.sqrt(clusters.moments.ratio_variance), count - 1, alpha)
    if found.error is None:
        return doubted(found, "degenerate", "all clusters came out alike: there is no variation to judge by")
    if found.status == "ok" and count < FEW_CLUSTERS:
        reason = f"{count} clusters: below {FEW_CLUSTERS} the interval is rough"
        return doubted(found, "not_ready", reason)
    return found
