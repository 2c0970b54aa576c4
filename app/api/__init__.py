"""The HTTP API under `/v1`, one file a resource."""
