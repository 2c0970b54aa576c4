"""Learners that stand before their first step."""

import torch

from trainer.data import DataSet
from trainer.feed import Resident
from trainer.learner import Learner
from trainer.plan import check
from trainer.replicas import ALONE, Replicas
from trainer.spec import TrainingSpec


def learner(chosen: TrainingSpec, data: DataSet, replicas: Replicas = ALONE) -> Learner:
    made = Learner(check(chosen, data.facts), data, Resident(data.train, torch.device("cpu")), replicas)
    made.begin(0)
    return made
