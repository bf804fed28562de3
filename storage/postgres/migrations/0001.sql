-- One row per record. Keys are bytes, and bytes are compared bytewise whatever
-- the collation. expires is in Unix nanoseconds, finer than a timestamp.
--
-- Room is left on each page for new versions of its rows: an update that stays
-- on its page, and changes no indexed column, touches no index.
CREATE TABLE IF NOT EXISTS {schema}.items (
	key bytea PRIMARY KEY,
	value bytea NOT NULL,
	expires bigint
) WITH (fillfactor = 70);

-- For Sweep.
CREATE INDEX IF NOT EXISTS items_expires ON {schema}.items (expires) WHERE expires IS NOT NULL;

-- What was changed, for the other nodes, kept for some minutes. Each connection
-- that writes is a lane and numbers its commits: in a lane they become visible in
-- the order of their numbers, so "all after n" misses none, which a number for all
-- lanes could not promise.
CREATE TABLE IF NOT EXISTS {schema}.lanes (
	lane bigint PRIMARY KEY,
	opened timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {schema}.changes (
	lane bigint NOT NULL,
	n bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	keys bytea NOT NULL,
	PRIMARY KEY (lane, n)
);
