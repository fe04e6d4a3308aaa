"""What all experiments share: their frame, records and pictures."""
