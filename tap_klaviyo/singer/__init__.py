"""Singer's side: catalogs, selections, states and messages."""
