"""One run: its identity, its clock, its record, where that is kept, and how it is executed."""
