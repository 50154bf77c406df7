"""The tables of a peer's history, as steps from each version of the file to the next, and how much of each is kept."""

_FIRST = """
CREATE TABLE IF NOT EXISTS own_numbers (
    kind INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS published (
    number INTEGER PRIMARY KEY, root TEXT NOT NULL, lineage BLOB NOT NULL, age INTEGER NOT NULL, samples INTEGER NOT NULL,
    bytes INTEGER NOT NULL, codec TEXT NOT NULL, signature BLOB NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS marks (
    peer TEXT NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (peer, kind));
CREATE TABLE IF NOT EXISTS peers (
    peer TEXT PRIMARY KEY, last_tried INTEGER, failures INTEGER NOT NULL, ever_accepted INTEGER NOT NULL,
    fetched_number INTEGER NOT NULL, bytes_per_second REAL, refused TEXT);
CREATE TABLE IF NOT EXISTS proofs (
    peer TEXT NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (
    round INTEGER PRIMARY KEY, at REAL NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL, lineage BLOB NOT NULL,
    age INTEGER NOT NULL, published TEXT, published_bytes INTEGER NOT NULL, fetched_bytes INTEGER NOT NULL,
    heard INTEGER NOT NULL, chosen INTEGER NOT NULL, merged INTEGER NOT NULL, refused INTEGER NOT NULL, failed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    round INTEGER NOT NULL, peer TEXT NOT NULL, number INTEGER NOT NULL, root TEXT NOT NULL, merged INTEGER NOT NULL,
    weight REAL NOT NULL, scale REAL NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS verdicts_by_peer ON verdicts (peer, round);
CREATE INDEX IF NOT EXISTS verdicts_by_root ON verdicts (root);
CREATE TABLE IF NOT EXISTS counts (
    reason TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS standing (
    one INTEGER PRIMARY KEY CHECK (one = 1), lineage BLOB NOT NULL, rounds INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS states (
    strategy TEXT PRIMARY KEY, run TEXT NOT NULL, adoption INTEGER NOT NULL, data BLOB NOT NULL)
"""

_FOR_WATCHERS = """
ALTER TABLE rounds ADD COLUMN splits BLOB NOT NULL DEFAULT x'';
CREATE TABLE heard (
    peer TEXT PRIMARY KEY, at REAL NOT NULL, round INTEGER NOT NULL, live INTEGER NOT NULL, number INTEGER, root TEXT,
    lineage BLOB, age INTEGER, young INTEGER, signature BLOB, bytes INTEGER);
CREATE TABLE totals (
    name TEXT PRIMARY KEY, amount INTEGER NOT NULL);
INSERT INTO totals SELECT 'published_bytes', coalesce(sum(published_bytes), 0) FROM rounds;
INSERT INTO totals SELECT 'fetched_bytes', coalesce(sum(fetched_bytes), 0) FROM rounds;
INSERT INTO totals SELECT 'merged', coalesce(sum(merged), 0) FROM rounds;
INSERT INTO totals SELECT 'refused', coalesce(sum(refused), 0) FROM rounds;
INSERT INTO totals SELECT 'failed', coalesce(sum(failed), 0) FROM rounds;
CREATE TABLE denied (
    peer TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE rejoin (
    one INTEGER PRIMARY KEY CHECK (one = 1), lineage BLOB, at REAL NOT NULL, outcome TEXT NOT NULL)
"""

_LOST = """
ALTER TABLE rounds ADD COLUMN lost INTEGER NOT NULL DEFAULT 0
"""

_TRUST = """
ALTER TABLE peers ADD COLUMN trust REAL NOT NULL DEFAULT 0;
UPDATE peers SET trust = CASE failures WHEN 0 THEN 1.0 WHEN 1 THEN 0.125 WHEN 2 THEN 0.0625 ELSE 0.0 END WHERE ever_accepted
"""

STEPS = tuple(tuple(script.split(";")) for script in (_FIRST, _FOR_WATCHERS, _LOST, _TRUST))
"""The statements that lead from version 0, an empty file, to 1, from there to 2, and so on."""

VERSION = len(STEPS)
APPLICATION_ID = 0x4C726E61  # "Lrna", in the file's header; files of before it was written have 0

KEPT_MARKS = 65_536
KEPT_PEERS = 65_536
KEPT_PROOFS = 1_000
KEPT_ROUNDS = 100_000
KEPT_VERDICTS = 400_000
