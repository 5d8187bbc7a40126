"""Many checkpoints: jobs, and what carries them out."""
