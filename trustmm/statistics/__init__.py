"""Numbers that a conclusion rests on: intervals over seeds, paired differences, tests that are read again and again."""
