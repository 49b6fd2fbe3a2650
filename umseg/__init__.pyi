from .api import evaluate as evaluate
from .api import plan as plan
from .inference.predictor import Predictor as Predictor
from .reports.notebook import show as show
from .training.config.training_config import TrainingConfig as TrainingConfig
from .training.loop.run import train as train
from .workspace import Workspace as Workspace

__version__: str
