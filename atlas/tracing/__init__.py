"""What a Trace is made of: the record of its attention, plans of its statistics, derived vectors, tables, files."""
