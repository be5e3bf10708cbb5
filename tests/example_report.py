"""A finished report on a planted world, for the tests of what is shown."""

import numpy as np

from headstart.report.report import DataSummary, Facts, Leaks, Report, build_report
from planted_worlds import ARMS, as_table, plant, sample, standard_error

FACTS = Facts(
    task="contract clauses <type>",
    metric="accuracy",
    data=DataSummary(
        "train.csv",
        3_260,
        52,
        8,
        3_200,
        1_200,
        {"lease": 1100, "loan": 980, "保密": 720, "other & rest": 400},
        18_400,
        5_200_000,
    ),
    leaks=Leaks(exact=21, near=16, train_test=2, removed=37),
    pretrain_seconds=840.0,
    budget_seconds=3600.0,
    spent_seconds=3120.0,
    command="headstart report train.csv --test test.csv --corpus contracts --budget 1h",
    cell_command="headstart report train.csv --only {arm} --labels {labels} --seed {seed}",
    environment={
        "headstart": "0.1.0",
        "torch": "2.13.0",
        "python": "3.11",
        "machine": "2 CPU cores",
    },
    date="2026-11-20",
)


def example(kind: str = "cross", *, seed: int = 4) -> Report:
    """kind: cross, plus, minus or none."""
    rng = np.random.default_rng(seed)
    error = standard_error(2.0)
    differences = {
        "cross": np.array([0.09, 0.045, -0.002, -0.025]),
        "plus": np.array([0.09, 0.07, 0.05, 0.04]),
        "minus": -6 * error,
        "none": np.full(4, 0.003),
    }
    world = plant(kind, differences[kind], level=2.0, rng=rng)
    return build_report(as_table(sample(world, rng)), ARMS, FACTS)
