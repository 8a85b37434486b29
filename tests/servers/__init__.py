"""Local stand-ins that speak the real protocols, driven in tests only by the real clients."""
