"""Published weights into our parts: one module per system, over one reader of safetensors."""
