"""Training: settings, the loop, the optimiser, checkpoints and the run folder."""

from headstart.train.checkpoint import Checkpoint, CheckpointFolder
from headstart.train.learner import Learner, Outcome, Probe, Source, StepRecord, Trainable
from headstart.train.run import Cost, Lineage, RunFolder, make_lineage
from headstart.train.schedule import Schedule
from headstart.train.settings import TrainSettings
from headstart.train.trainer import Trainer

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "Cost",
    "Learner",
    "Lineage",
    "Outcome",
    "Probe",
    "RunFolder",
    "Schedule",
    "Source",
    "StepRecord",
    "TrainSettings",
    "Trainable",
    "Trainer",
    "make_lineage",
]
