"""Networks that no library has.

Published repositories record this package as the home of each class, so the files here may move.
"""

from diffusers import ModelMixin  # noqa: F401 (diffusers tells by this name how to load what is here)

from ggt_hub.models.code_former import CodeFormer
from ggt_hub.models.compact_restorer import CompactRestorer
from ggt_hub.models.detector import Detector
from ggt_hub.models.dreamclear_transformer import DreamClearTransformer2DModel
from ggt_hub.models.dual_prompt import DualPrompt
from ggt_hub.models.face_detector import FaceDetector
from ggt_hub.models.moire_refiner import MoireRefiner
from ggt_hub.models.patch_discriminator import PatchDiscriminator
from ggt_hub.models.peer_network import PeerNetwork
from ggt_hub.models.quality_prior import QualityPrior
from ggt_hub.models.swinir import SwinIR
from ggt_hub.models.synnet import SynNet
from ggt_hub.models.text_connector import TextConnector
from ggt_hub.models.told_parts import ToldParts
from ggt_hub.models.trained_part import TrainedPart
from ggt_hub.models.vq_autoencoder import VQAutoencoder

__all__ = [
    "CodeFormer",
    "CompactRestorer",
    "Detector",
    "DreamClearTransformer2DModel",
    "DualPrompt",
    "FaceDetector",
    "MoireRefiner",
    "PatchDiscriminator",
    "PeerNetwork",
    "QualityPrior",
    "SwinIR",
    "SynNet",
    "TextConnector",
    "ToldParts",
    "TrainedPart",
    "VQAutoencoder",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
