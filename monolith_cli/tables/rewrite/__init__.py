"""Tables made anew of those of a step: in other files, and without entries that are to go."""
