from .config.training_config import TrainingConfig as TrainingConfig
from .loop.run import train as train
