"""How well one can tell, from figures, what was labelled 1 from what was labelled 0.

AUC: the chance that of one of each the one labelled 1 has the greater figure; 0.5 is blindness.
Windows of one pair resemble each other, so uncertainty is taken over pairs: the bootstrap draws
pairs, and a classifier is tested on pairs that it was not trained on. What it is tested on is taken
out in balanced sets (an idle and a busy pair of the same round): otherwise whatever else was going on
in the machine at a moment would be met more often with one label in training, and so with the other
one in the test, which makes a blind classifier worse than blind.
"""

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

FOLDS = 5
DRAWS = 400
RANDOM = 5


def auc(figures, labels):
    ranks, ones = rankdata(figures), labels.sum()
    zeros = len(labels) - ones
    if not ones or not zeros:
        return np.nan
    return (ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)


def interval(figures, labels, pairs):
    """The 95 % interval of the AUC by the bootstrap over pairs."""
    random = np.random.default_rng(RANDOM)
    rows = [np.flatnonzero(pairs == pair) for pair in np.unique(pairs)]
    drawn = []
    for _ in range(DRAWS):
        picked = np.concatenate([rows[pair] for pair in random.integers(len(rows), size=len(rows))])
        drawn.append(auc(figures[picked], labels[picked]))
    return np.nanpercentile(drawn, [2.5, 97.5])


def classify(figures, labels, sets):
    """What a gradient-boosted classifier thinks of each window after having seen other sets: the
    window's rank among those of its fold, in 0..1."""
    ranks = np.zeros(len(labels))
    folds = GroupKFold(min(FOLDS, len(np.unique(sets))), shuffle=True, random_state=RANDOM)
    for train, test in folds.split(figures, labels, sets):
        # The classifier takes no column without two values.
        varied = np.nanmax(figures[train], axis=0) > np.nanmin(figures[train], axis=0)
        model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, random_state=RANDOM)
        model.fit(figures[train][:, varied], labels[train])
        ranks[test] = rankdata(model.predict_proba(figures[test][:, varied])[:, 1]) / len(test)
    return ranks


class Claim:
    """One figure beside what it has to be."""

    def __init__(self, name, figure, least=-np.inf, most=np.inf, spread=None, form="{:.3f}", judged=True):
        self.name, self.figure, self.spread, self.form = name, figure, spread, form
        self.least, self.most, self.judged = least, most, judged

    @property
    def fails(self):
        return self.judged and not self.least <= self.figure <= self.most

    def row(self):
        shown = self.form.format(self.figure)
        spread = "" if self.spread is None else "{} to {}".format(*map(self.form.format, self.spread))
        bounds = [self.form.format(bound) if np.isfinite(bound) else "" for bound in (self.least, self.most)]
        wanted = {(False, False): "", (True, False): f"at least {bounds[0]}", (False, True): f"at most {bounds[1]}",
                  (True, True): f"{bounds[0]} to {bounds[1]}"}[np.isfinite(self.least), np.isfinite(self.most)]
        verdict = "FAILS" if self.fails else "holds" if self.judged and wanted else ""
        return f"{self.name:<58} {shown:>9}  {spread:<18} {wanted:<18} {verdict}"


HEADING = f"{'':<58} {'':>9}  {'95 % interval':<18} {'claimed':<18}"


def blindness(name, figures, names, raw, labels, pairs, sets, judged=True, blind=True):
    """The claims on single figures, and those on both classifiers. `sets`: of which balanced set
    each row is; `blind`: the claim is that one can't tell."""
    least, most = (0.45, 0.55) if blind else (-np.inf, np.inf)
    single = [Claim(f"{name}: {names[column]}", auc(figures[:, column], labels), least, most,
                    interval(figures[:, column], labels, pairs), judged=judged)
              for column in range(len(names))]
    least, most = (-np.inf, 0.55) if blind else (0.95, np.inf)
    learnt = []
    for what, given in (("classifier on all figures", figures), ("classifier on raw gaps", raw)):
        ranks = classify(given, labels, sets)
        learnt.append(Claim(f"{name}: {what}", auc(ranks, labels), least, most,
                            interval(ranks, labels, pairs), judged=judged))
    return single, learnt


def notable(single):
    """Shows all single figures, and gives back those that fail, or else the two farthest out."""
    for claim in single:
        print(claim.row())
    failing = [claim for claim in single if claim.fails]
    return failing or sorted(single, key=lambda claim: -abs(claim.figure - 0.5))[:2]
