"""Writes agreement.json: Cohen's kappa and Krippendorff's alpha (nominal) of made-up labels, with gaps for alpha.

    python3 make_agreement.py

Pinned: krippendorff==0.9.0, scikit-learn==1.9.1, numpy==2.4.6
"""
import json
import pathlib
import random

import krippendorff
import numpy
from sklearn.metrics import cohen_kappa_score

generator = random.Random(11)
cases = []
for raters, items, labels, noise, gaps in [
    (2, 20, 2, 0.1, 0.0), (2, 50, 4, 0.4, 0.0), (2, 12, 3, 1.0, 0.0), (3, 40, 3, 0.2, 0.2), (4, 30, 5, 0.5, 0.5), (5, 25, 2, 0.3, 0.7),
]:
    truth = [generator.randrange(labels) for _ in range(items)]
    table = [[value if generator.random() > noise else generator.randrange(labels) for value in truth] for _ in range(raters)]
    table = [[None if generator.random() < gaps else value for value in row] for row in table]
    data = numpy.array([[numpy.nan if value is None else value for value in row] for row in table], dtype=float)
    kappa = cohen_kappa_score(table[0], table[1]) if gaps == 0.0 else None
    alpha = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    cases.append({"raters": table, "kappa": kappa if kappa is None else float(kappa), "alpha": float(alpha)})
path = pathlib.Path(__file__).with_name("agreement.json")
path.write_text(json.dumps(cases) + "\n", encoding="utf-8")
