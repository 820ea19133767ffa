/**
 * Owns the conformance suite of the host layer: the same promises, held by the in-memory host and by the shell driver
 * (locally and behind a real sshd). Does not own any host: each implementation hands in a ConformanceHost.
 *
 * What the suite needs of the shell driver (src/hosts/driver): one line, exactly `failpoint() { :; }`, and a call
 * `failpoint NAME` right before and right after every durable write (tenancy, journal lines, request store, files,
 * sentinel removal, tombstone). The suite replaces that line in the piped text by one that counts its calls and sends
 * SIGKILL to the calling shell at the n-th. Nothing else in the product knows of it.
 */
export {}
