//! From rows back to replicas and the runs of nodes.

use std::num::NonZeroU32;

use bytes::Bytes;
use firn_model::id::{EntityKey, Incarnation, NodeId, Replica, StorageName};

use super::key::{self, Key, Space, successor};
use super::overlay::View;
use super::value::{
    NodeRow, ReplicaRow, ReplicaStateRow, bad_field, check_full_key, damaged, decode_row,
};
use crate::ReadError;
use crate::replica::{IncarnateError, Run, WriteError};

/// The state of a node's replica.
pub(crate) fn load(
    rows: &dyn View,
    node: NodeId,
    entity_key: &EntityKey,
) -> Result<Option<Bytes>, ReadError> {
    let key = key::replica(Space::Replica, node, entity_key);
    let Some(value) = rows.get(&key)? else {
        return Ok(None);
    };
    let row: ReplicaRow = decode_row(&key, value)?;
    check_full_key(&key, row.full_key.as_ref(), entity_key)?;
    let key = key::replica(Space::ReplicaState, node, entity_key);
    let value = rows.get(&key)?;
    let value = value.ok_or_else(|| damaged(&key, &"the row is missing"))?;
    let row: ReplicaStateRow = decode_row(&key, value)?;
    Ok(Some(row.state))
}

/// The entities that a node has replicas of, after `after`.
pub(crate) fn list(
    rows: &dyn View,
    node: NodeId,
    after: Option<&EntityKey>,
    limit: usize,
) -> Result<Vec<EntityKey>, ReadError> {
    let prefix = key::replicas_of(node);
    let end = key::after_prefix(&prefix);
    let from = after.map_or(prefix, |after| {
        successor(key::replica(Space::Replica, node, after))
    });
    rows.scan(from, end)
        .take(limit)
        .map(|row| {
            let (key, value) = row?;
            entity_of(&key, decode_row(&key, value)?)
        })
        .collect()
}

/// The nodes that have replicas of anything.
pub(crate) fn nodes(rows: &dyn View) -> Result<Vec<NodeId>, ReadError> {
    let (mut from, end) = key::whole(Space::Replica);
    let mut nodes = Vec::new();
    while let Some(row) = rows.scan(from, end.clone()).next() {
        let (key, _) = row?;
        let node = key::replica_node(&key).ok_or_else(|| bad_field(&key, "the node"))?;
        nodes.push(node);
        from = key::after_prefix(&key::replicas_of(node));
    }
    Ok(nodes)
}

/// The beginning of the keys of a node's replicas in a component, and the first key after `after`.
pub(crate) fn range(
    node: NodeId,
    storage: &StorageName,
    after: Option<&EntityKey>,
) -> (Key, Option<Key>) {
    let from = after.map(|after| successor(key::replica(Space::Replica, node, after)));
    (key::replicas_in(node, storage), from)
}

/// The id of an entity, unless it is deleted.
pub(crate) fn listed(key: &[u8], value: Bytes) -> Result<Option<String>, ReadError> {
    let row: ReplicaRow = decode_row(key, value)?;
    if row.deleted {
        return Ok(None);
    }
    Ok(Some(entity_of(key, row)?.id.as_ref().to_owned()))
}

/// The run of the node with this name that is to begin; `draw` gives the id of a new node.
pub(crate) fn next_run(
    rows: &dyn View,
    name: &str,
    draw: impl FnOnce() -> Result<NodeId, WriteError>,
) -> Result<Run, IncarnateError> {
    let key = key::node(name);
    let replica = match rows.get(&key)? {
        Some(value) => next_replica(&key, decode_row(&key, value)?, name)?,
        None => Replica {
            node: draw()?,
            incarnation: Incarnation::FIRST,
        },
    };
    Ok(Run {
        name: name.to_owned(),
        replica,
    })
}

/// An id for a new node.
pub(crate) fn draw_node() -> Result<NodeId, WriteError> {
    getrandom::u64()
        .map(NodeId)
        .map_err(|error| WriteError::Unavailable {
            cause: format!("the system gives no random number: {error}"),
        })
}

fn next_replica(key: &[u8], row: NodeRow, name: &str) -> Result<Replica, IncarnateError> {
    if row.name != name {
        return Err(damaged(key, &"it belongs to another node").into());
    }
    let node = NodeId(row.node);
    let last = NonZeroU32::new(row.incarnation).ok_or_else(|| bad_field(key, "the incarnation"))?;
    let next = Incarnation(last).next();
    Ok(Replica {
        node,
        incarnation: next.ok_or(IncarnateError::UsedUp { node })?,
    })
}

/// The entity of a `Replica` row.
pub(crate) fn entity_of(key: &[u8], row: ReplicaRow) -> Result<EntityKey, ReadError> {
    match row.full_key {
        Some(full) => Ok(full.into()),
        None => key::replica_entity(key).ok_or_else(|| bad_field(key, "the entity")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::encode;
    use crate::memory::Table;

    fn table(name: &str, incarnation: u32) -> Table {
        let row = NodeRow {
            name: name.to_owned(),
            node: 7,
            incarnation,
        };
        let mut table = Table::default();
        table.write([(key::node("n"), Some(encode(&row)))]);
        table
    }

    fn next(table: &Table) -> Result<Replica, IncarnateError> {
        next_run(table, "n", || Ok(NodeId(1))).map(|run| run.replica)
    }

    #[test]
    fn incarnations_are_counted_to_the_end() {
        let replica = |node, number| Replica {
            node: NodeId(node),
            incarnation: Incarnation(NonZeroU32::new(number).unwrap()),
        };
        assert_eq!(next(&Table::default()), Ok(replica(1, 1)));
        assert_eq!(next(&table("n", 1)), Ok(replica(7, 2)));
        assert_eq!(next(&table("n", u32::MAX - 1)), Ok(replica(7, u32::MAX)));
        let used_up = IncarnateError::UsedUp { node: NodeId(7) };
        assert_eq!(next(&table("n", u32::MAX)), Err(used_up));
    }

    #[test]
    fn damaged_rows_of_nodes_are_reported() {
        for table in [table("n", 0), table("other", 1)] {
            let damaged = next(&table).unwrap_err();
            let IncarnateError::Read(ReadError::Damaged { place, .. }) = damaged else {
                panic!("{damaged}");
            };
            assert!(place.contains("\\x11n"), "{place}");
        }
    }

    #[test]
    fn a_node_that_cannot_be_drawn_is_none() {
        let cause = "none left".to_owned();
        let error = WriteError::Unavailable { cause };
        let run = next_run(&Table::default(), "n", || Err(error.clone()));
        assert_eq!(run, Err(error.into()));
    }
}
