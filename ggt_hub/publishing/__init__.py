"""Everything that is published to the Hub: from one manifest, checked before, tagged, and proven afterwards."""
