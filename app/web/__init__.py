"""The dashboard: pages from templates, and scripts that ask the API under `/v1` as any other client does."""
