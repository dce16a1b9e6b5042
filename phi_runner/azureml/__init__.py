"""Azure: the only home of `azure.*`: client, infrastructure, jobs, registry, endpoints, connections, the emulator."""
