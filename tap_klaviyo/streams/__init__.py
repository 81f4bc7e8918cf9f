"""The streams: a row in one table and a schema file each."""
