"""Everything that is kept on disk: digests, files, the cache, identities, folders of jobs and sweeps. No torch."""
