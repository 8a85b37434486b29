"""Marks in a file that say that a model has drawn the picture, or a part of it.

Generators, and programs that sign what they do (C2PA), name the origin by a term of the IPTC's list of digital
source types, in XMP or in the signed manifest; neither is compressed. Programs that run Stable Diffusion write
their settings as texts of PNG files. A file without marks says nothing.
"""

_MARKS = {
    b"trainedAlgorithmicMedia": "digital source type trainedAlgorithmicMedia",
    b"compositeWithTrainedAlgorithmicMedia": "digital source type compositeWithTrainedAlgorithmicMedia",
    b"algorithmicMedia": "digital source type algorithmicMedia",
    b"tEXtparameters\0": "the settings of a text-to-image program",
    b"tEXtworkflow\0": "the workflow of a text-to-image program",
    b"invokeai_metadata": "the settings of a text-to-image program",
    b"sd-metadata\0": "the settings of a text-to-image program",
}


def mark_of_a_model(data: bytes) -> str | None:
    """What says that a model drew it, in words; None where nothing does.

    Args:
        data: the file of a picture.

    Example:
        >>> mark_of_a_model(b"... Iptc4xmpExt:DigitalSourceType='.../trainedAlgorithmicMedia' ...")
        'digital source type trainedAlgorithmicMedia'
    """
    return next((words for mark, words in _MARKS.items() if mark in data), None)
