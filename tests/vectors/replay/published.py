"""Figures printed in papers and elsewhere: datasets/published.json and the tables beside it."""

import csv
import json
import math
from pathlib import Path

import numpy as np

from replay.compare import Verdict, leaves
from replay.shape import ends, floats, table_of
from stats import strata
from stats.comparison import by_normal
from stats.group_sequential import obrien_fleming, pocock
from stats.multiplicity import benjamini_hochberg, bonferroni
from stats.off_policy import Logged, ips, snips, support
from stats.regression import by_cluster, by_two_clusters, equal_variance, error_of, fit, hc1
from stats.score_difference import mee, miettinen_nurminen
from stats.stage_pool import fixed_effect, random_effects, random_effects_reml
from stats.two_proportion import newcombe, pooled_z, unpooled_z

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def table_at(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def newcombe_1998(published, _folder):
    """Table II, four decimals."""
    for row in published["rows"]:
        table = table_of(row)
        for name, method in (("mee", mee), ("mn", miettinen_nurminen), ("newcombe10", newcombe)):
            if name in row:
                yield (
                    f"{row['x1']}/{row['n1']} v {row['x0']}/{row['n0']} {name}",
                    row[name],
                    ends(method(table)),
                    4,
                )


def cookie_cats(published, _folder):
    first, second = (table_of(row) for row in published["rows"])
    found, wald = pooled_z(first), unpooled_z(second)
    yield "retention_1 z", published["rows"][0]["z_pooled"], found.statistic, 12
    yield "retention_1 p", published["rows"][0]["p"], found.p, 12
    yield "retention_7 interval", published["rows"][1]["wald_ci_pp"], [100 * wald.low, 100 * wald.high], 2
    yield "retention_7 p", published["rows"][1]["p"], pooled_z(second).p, 4


def udacity(published, _folder):
    """The difference with the pooled error."""
    for row in published["rows"]:
        found = pooled_z(table_of(row))
        yield f"{row['metric']} difference", row["diff"], found.estimate, 4
        interval = by_normal(found.estimate, found.error, 0.05)
        yield f"{row['metric']} interval", row["ci"], ends(interval), 4


def crook_2009(published, _folder):
    stages = [table_of(stage) for stage in published["strata"]]
    for arm, name in ((1, "treatment"), (0, "control")):
        wins = sum(stage[f"x{arm}"] for stage in published["strata"])
        trials = sum(stage[f"n{arm}"] for stage in published["strata"])
        yield f"{name} total", published["published"][f"{name}_total"], wins / trials, 4 if arm == 0 else 3
    better = [stage.difference > 0.0 for stage in stages] + [strata.mantel_haenszel(stages).low > 0.0]
    yield "better on both days, and within days", [1, 1, 1], [int(each) for each in better], 0


def benjamini_hochberg_1995(published, _folder):
    """Rejected at 0.05: 4 by theirs, 3 by Bonferroni's."""
    for name, method, rejected in (("BH", benjamini_hochberg, 4), ("Bonferroni", bonferroni, 3)):
        yield f"{name} rejects", rejected, sum(p <= 0.05 for p in method(published["p"])), 0


def jennison_turnbull(published, _folder):
    yield "Pocock's z", published["pocock_Z"], pocock(FIFTHS, 0.05).critical[-1], 3
    yield (
        "O'Brien and Fleming's last z",
        published["obf_final_Z"],
        obrien_fleming(FIFTHS, 0.05).critical[-1],
        3,
    )


def petersen_2009(published, folder):
    rows = table_at(folder / "petersen_cl.csv")
    x, y = (floats([row[name] for row in rows]) for name in ("x", "y"))
    firm, year = (np.array([int(row[name]) for row in rows]) for name in ("firm", "year"))
    found = fit(np.stack([np.ones(len(x)), x], axis=1), y)
    covariances = {
        "ols": equal_variance(found),
        "white": hc1(found),
        "firm_cluster": by_cluster(found, firm),
        "year_cluster": by_cluster(found, year),
        "two_way": by_two_clusters(found, firm, year),
    }
    yield "slope", published["coef"], float(found.coefficients[1]), 4
    for name, covariance in covariances.items():
        yield name, published[name], error_of(covariance, 1), 4


def bcg(published, folder):
    rows = table_at(folder / "bcg.csv")
    effects = [float(row["yi"]) for row in rows]
    errors = [math.sqrt(float(row["vi"])) for row in rows]
    pools = {"FE": fixed_effect(effects, errors), "DL": random_effects(effects, errors)}
    pools["REML"] = random_effects_reml(effects, errors)
    for name, pool in pools.items():
        yield name, published[name], [pool.pooled.estimate, pool.pooled.error], 4
    yield "tau2", published["tau2_REML"], pools["REML"].tau2, 4
    yield "I2", published["I2_REML"], 100.0 * pools["REML"].i2, 2
    yield "Q", published["Q"], pools["FE"].q, 3


def open_bandit(published, folder):
    rows = table_at(folder / "obd_small_random_all.csv")
    rewards, weights = (floats([row[name] for row in rows]) for name in ("reward", "importance_weight_bts"))
    log = Logged(rewards, weights, np.arange(len(rows)), stateless=True)
    plain, covered = ips(log), support(log)
    yield "ipw", published["ipw"], plain.estimate, 8
    yield "ipw_se", published["ipw_se"], plain.error, 8
    yield "snipw", published["snipw"], snips(log).estimate, 15
    yield "random_mean", published["random_mean"], float(rewards.mean()), 4
    yield "relative_ipw", published["relative_ipw"], plain.estimate / float(rewards.mean()), 12
    yield "ess", published["ess"], covered.effective, 5
    yield "max_weight", published["max_weight"], covered.largest, 4


def counts_only(_published, _folder):
    """No figure was published with them here; they are a case of two_proportion_ci."""
    return ()


DATASETS = {
    "newcombe_1998_table2": newcombe_1998,
    "cookie_cats": cookie_cats,
    "udacity_free_trial": udacity,
    "physicians_health_study": counts_only,
    "crook_2009_simpson": crook_2009,
    "benjamini_hochberg_1995": benjamini_hochberg_1995,
    "jennison_turnbull_constants": jennison_turnbull,
    "petersen_2009": petersen_2009,
    "bcg_metafor": bcg,
    "open_bandit_small": open_bandit,
}


def verdicts(folder: Path) -> tuple[int, list[Verdict]]:
    """(datasets, one verdict per printed figure): right to half of its last digit."""
    content = json.loads((folder / "published.json").read_text())
    found = []
    for name, published in content.items():
        if name not in DATASETS:
            found.append(Verdict(name, "", "failed", "a known dataset", "no function is known for it"))
            continue
        for what, theirs, ours, decimals in DATASETS[name](published, folder):
            pairs = zip(leaves(theirs, what), leaves(ours, what), strict=True)
            found += [compared(name, path, his, mine, decimals) for (path, his), (_, mine) in pairs]
    return len(content), found


def compared(name, path, theirs, ours, decimals):
    near = abs(ours - theirs) <= 0.500001 * 10.0**-decimals
    return Verdict(name, path, "passed" if near else "failed", theirs, ours)
