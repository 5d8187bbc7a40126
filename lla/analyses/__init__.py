"""The questions a user can ask of a checkpoint, one room each."""
