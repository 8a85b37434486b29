"""What belongs together: sides, splits, tasks and pairs, told by names, manifests, columns, or by a person."""
