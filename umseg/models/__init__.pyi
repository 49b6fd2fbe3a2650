from .convert import convert_state_dict as convert_state_dict
from .mamba import MambaBlock as MambaBlock
from .mamba import selective_scan as selective_scan
from .registry import MODELS as MODELS
from .registry import ModelOptions as ModelOptions
from .registry import build_network as build_network
