"""What was measured: records, statistics, and what they say."""
