"""The statistics behind conclusions: intervals over seeds, paired differences, and sequential tests."""
