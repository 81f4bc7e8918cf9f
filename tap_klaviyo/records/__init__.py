"""Pages of resources to records that fit their schema; knows nothing of Singer or of the table of streams."""
