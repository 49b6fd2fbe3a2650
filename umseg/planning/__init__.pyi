from .fingerprint import Fingerprint as Fingerprint
from .fingerprint import IntensityStatistics as IntensityStatistics
from .fingerprint import extract_fingerprint as extract_fingerprint
from .overrides import Overrides as Overrides
from .plan import Configuration as Configuration
from .plan import Plan as Plan
from .planner import make_plan as make_plan
