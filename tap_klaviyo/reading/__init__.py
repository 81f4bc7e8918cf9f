"""From a stream's row to its batches of records, in order."""
