"""What every command needs while it runs: progress, interruption, errors."""
