-- Until when a deletion held, for those who tail a slot: what is deleted again later has another
-- tombstone in deleted_until.
ALTER TABLE firn_entities ADD COLUMN changed_until int8;
UPDATE firn_entities SET changed_until = deleted_until WHERE change IN ('delete', 'mark');
