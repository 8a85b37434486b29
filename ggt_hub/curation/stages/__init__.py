"""The stages that configurations may name: one file for each concern."""

from ggt_hub.curation.stage import Stage
from ggt_hub.curation.stages.asking import Caption, CheckPrompts, Inspect, WritePrompts
from ggt_hub.curation.stages.choose_patches import ChoosePatches
from ggt_hub.curation.stages.compose import Compose, ComposeAdaptive
from ggt_hub.curation.stages.crop import Crop
from ggt_hub.curation.stages.diagnose import Diagnose
from ggt_hub.curation.stages.edit import Edit
from ggt_hub.curation.stages.face_free import FaceFree
from ggt_hub.curation.stages.gate import Gate, Measure
from ggt_hub.curation.stages.gather import Gather
from ggt_hub.curation.stages.judge import Judge
from ggt_hub.curation.stages.pack import Pack
from ggt_hub.curation.stages.pack_pairs import PackPairs
from ggt_hub.curation.stages.pictures import Generate, Spoil
from ggt_hub.curation.stages.quality import Filter, LearnQuality
from ggt_hub.curation.stages.register import Register
from ggt_hub.curation.stages.reviewed import Reviewed
from ggt_hub.curation.stages.rounds import EditInRounds
from ggt_hub.curation.stages.screen import Resemble, Screen
from ggt_hub.curation.stages.tune import Tune
from ggt_hub.curation.stages.unlike import Apart, Unlike

STAGES: dict[str, type[Stage]] = {
    stage.name: stage
    for stage in (
        Gather,
        Caption,
        Spoil,
        Tune,
        LearnQuality,
        WritePrompts,
        CheckPrompts,
        Generate,
        Filter,
        Inspect,
        Unlike,
        Apart,
        Crop,
        FaceFree,
        Diagnose,
        Resemble,
        Screen,
        Compose,
        ComposeAdaptive,
        Edit,
        EditInRounds,
        Register,
        Measure,
        Gate,
        Judge,
        ChoosePatches,
        Reviewed,
        Pack,
        PackPairs,
    )
}
