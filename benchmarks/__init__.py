"""What the tap costs: measures of it against the sandbox, beside the usual way and the limit. Nothing is asserted."""
