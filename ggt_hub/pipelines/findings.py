"""What a restorer found in a picture, in words."""


def describe_findings(found: dict[str, float]) -> str:
    """Say what was found (`RestorerPipelineOutput.findings`), only as far as it is worth mentioning."""
    words = []
    if found["noise_sigma"] >= 3:
        words.append(f"noise sigma {found['noise_sigma']:.0f}")
    if found["jpeg_quality"] < 90:
        words.append(f"compressed to quality {found['jpeg_quality']:.0f}")
    if found["blur_sigma"] >= 0.5:
        words.append(f"blurred by {found['blur_sigma']:.1f} px")
    if found["enlarged_by"] >= 1.25:
        words.append(f"enlarged by {found['enlarged_by']:.1f}")
    return "found: " + (", ".join(words) or "little damage")
