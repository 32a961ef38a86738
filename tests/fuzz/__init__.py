"""Coverage-guided fuzzing: what it executes, how its inputs are changed, and the command."""
