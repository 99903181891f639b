"""From a prepared volume to logits and a mask: windows, batches across volumes, pictures of the outcome."""
