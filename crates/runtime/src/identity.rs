//! Which entity a message is for.

use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::id::{EffectId, EntityId};
use firn_model::key::{self, Key, KeyError};
use firn_model::status::{GrpcCode, Status};
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// By what a command may be known again when it comes a second time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Occasion<'a> {
    /// The effect that caused it.
    pub(crate) effect: Option<EffectId>,
    /// The caller's key.
    pub(crate) idempotency_key: Option<&'a str>,
}

/// The entity that a message is for.
///
/// # Errors
/// INVALID_ARGUMENT if the message cannot be read or names no entity.
pub(crate) fn entity_id(
    method: &Method,
    message: &[u8],
    occasion: Occasion<'_>,
) -> Result<EntityId, Status> {
    let fields = match &method.key {
        Key::Fields(fields) => fields,
        Key::Generated => {
            let id = generated(&method.path(), occasion);
            return Ok(EntityId::single(id.to_string()));
        }
        Key::None => {
            unreachable!("a contract gives every method of an entity a key: checked at discovery")
        }
    };
    key::entity_id(fields, message).map_err(|error| {
        let code = match error {
            KeyError::Malformed { .. } => Code::PayloadMalformed,
            KeyError::Empty { .. } => Code::IdEmpty,
            KeyError::TooLong { .. } => Code::IdTooLong,
        };
        Status::refused(GrpcCode::InvalidArgument, code, error.to_string())
    })
}

/// A new id; for what may come a second time always the same, so that the second one finds what the
/// first one did.
fn generated(path: &str, occasion: Occasion<'_>) -> Uuid {
    let mut hash = Xxh3::new();
    match occasion {
        Occasion {
            effect: Some(effect),
            ..
        } => {
            hash.update(b"effect");
            hash.update(&effect.slot.number().to_be_bytes());
            hash.update(&effect.sequence.0.to_be_bytes());
            hash.update(&effect.index.to_be_bytes());
        }
        Occasion {
            idempotency_key: Some(key),
            ..
        } => {
            hash.update(b"key");
            hash.update(&(path.len() as u64).to_be_bytes());
            hash.update(path.as_bytes());
            hash.update(key.as_bytes());
        }
        Occasion { .. } => return Uuid::new_v4(),
    }
    uuid::Builder::from_custom_bytes(hash.digest128().to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use firn_model::id::{Slot, SlotSequence};

    use super::*;

    #[test]
    fn generated_ids_are_new_unless_the_command_may_be_known_again() {
        let check = |one: Occasion<'_>, other: Occasion<'_>, same: bool| {
            let ids = [one, other].map(|occasion| generated("/t.Cart/Create", occasion));
            assert_eq!(ids[0] == ids[1], same, "{one:?} and {other:?}");
        };
        let effect = |sequence| Occasion {
            effect: Some(EffectId {
                slot: Slot::new(1).expect("a slot"),
                sequence: SlotSequence(sequence),
                index: 0,
            }),
            idempotency_key: None,
        };
        let keyed = |key| Occasion {
            effect: None,
            idempotency_key: Some(key),
        };
        check(Occasion::default(), Occasion::default(), false);
        check(effect(1), effect(1), true);
        check(effect(1), effect(2), false);
        check(keyed("k"), keyed("k"), true);
        check(keyed("k"), keyed("l"), false);
        assert_ne!(
            generated("/t.Cart/Create", keyed("k")),
            generated("/t.Cart/Make", keyed("k"))
        );
    }
}
